"""Following a hop: what is listed, read, shown and told, and how it ends."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from device import aws
from device.aws import AwsEnvironment
from device.errors import ConnectionRefused, ExitStatus
from ops.tap import __main__ as command
from ops.tap.follow import Follower
from telemetry_parser.parser import Parser
from tests.unit.device.fakes import ACCOUNT, REGION
from tests.unit.ops.fakes import client_error
from tests.unit.ops.tap.examples import (
    CONTRACT,
    GOOD,
    NOW,
    READER,
    TOPIC,
    encoded,
    plain,
    raw_line,
)


class Bucket:
    """S3 that counts its requests."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.lists = 0
        self.gets: list[str] = []

    def add(self, name: str, content: bytes, at: datetime = NOW, hour: str = "10") -> str:
        key = f"raw/telemetry/dt=2026-11-25/hour={hour}/{name}.ndjson.gz"
        self.objects[key] = (content, at)
        return key

    def list_objects_v2(self, *, Prefix: str, StartAfter: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.lists += 1
        found = [
            {"Key": key, "LastModified": moment, "Size": len(content)}
            for key, (content, moment) in sorted(self.objects.items())
            if key.startswith(Prefix) and key > StartAfter
        ]
        return {"Contents": found[:1000]} if found else {}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.gets.append(Key)
        if not self.objects[Key][0]:
            raise client_error("GetObject", "NoSuchKey", 404)
        return {"Body": io.BytesIO(self.objects[Key][0])}


def follower(bucket: Bucket, said: Callable[[str], None] = print, hop: str = "raw") -> Follower:
    return Follower(
        cast("Any", bucket),
        "bucket",
        hop=hop,
        channel="telemetry",
        reader=READER,
        started=NOW,
        notice=said,
    )


def test_only_new_objects_are_read_each_once_with_one_list_per_poll() -> None:
    bucket = Bucket()
    bucket.add("old", raw_line(GOOD), NOW - timedelta(minutes=2))
    recent = bucket.add("recent", raw_line(GOOD), NOW - timedelta(seconds=30))
    following = follower(bucket)
    assert [one.raw_key for one in following.poll(NOW)] == [recent]
    earlier = bucket.add("a-key-that-sorts-before", raw_line(GOOD))
    late = bucket.add("late", raw_line(GOOD), hour="09")
    found = [one.raw_key for _ in range(6) for one in following.poll(NOW)]
    assert sorted(map(str, found)) == sorted([earlier, late])
    assert bucket.lists == 7
    assert sorted(bucket.gets) == sorted([recent, earlier, late])


def test_an_hour_of_many_objects_is_not_listed_from_its_start_again() -> None:
    bucket = Bucket()
    for number in range(2500):
        bucket.add(f"{number:05}", raw_line(GOOD), NOW - timedelta(hours=1))
    following = follower(bucket)
    for _ in range(8):
        assert list(following.poll(NOW)) == []
    newest = bucket.add("99999", raw_line(GOOD))
    assert [one.raw_key for _ in range(2) for one in following.poll(NOW)] == [newest]


def test_what_is_too_much_is_a_sample_and_a_notice_says_so() -> None:
    bucket, said = Bucket(), list[str]()
    for number in range(25):
        bucket.add(f"{number:02}", raw_line(GOOD))
    assert len(list(follower(bucket, said.append).poll(NOW))) == 20
    assert said == ["a sample: 5 of 25 new objects are not shown"]
    bucket, said = Bucket(), []
    key = bucket.add("large", b"\n".join([raw_line(GOOD)] * 300))
    assert len(list(follower(bucket, said.append).poll(NOW))) == 200
    assert said == [f"a sample: the first 200 of {key}"]


def test_objects_that_are_damaged_or_gone_stop_nothing() -> None:
    bucket, said = Bucket(), list[str]()
    damaged = bucket.add("1", gzip.compress(raw_line(GOOD))[:-9])
    bucket.add("2", b"")
    whole = bucket.add("3", gzip.compress(raw_line(GOOD) + b"\n\n"))
    found = list(follower(bucket, said.append).poll(NOW))
    assert whole in [one.raw_key for one in found]
    assert said[0].startswith(f"{damaged}: expected whole gzip")


def test_rows_of_a_parsed_object_are_shown_and_damage_is_a_notice(tmp_path: Path) -> None:
    bucket, said = Bucket(), list[str]()
    parquet = tmp_path / "parquet"
    Parser(CONTRACT).parse(
        io.BytesIO(raw_line([GOOD, GOOD])),
        raw_key="raw/k",
        parquet_path=parquet,
        rejected_path=tmp_path / "rejected",
    )
    prefix = "parsed/telemetry/dt=2026-11-25/hour=10/"
    bucket.objects[f"{prefix}a.parquet"] = (b"no parquet", NOW)
    bucket.objects[f"{prefix}b.parquet"] = (parquet.read_bytes(), NOW)
    rows = list(follower(bucket, said.append, hop="parsed").poll(NOW))
    assert [(one.thing_name, one.payload["temperature"]) for one in rows] == [
        ("sensor-1", 21.5)
    ] * 2
    assert "raw_key" not in rows[0].payload
    assert said[0] == f"{prefix}a.parquet: expected whole Parquet"
    assert '"timestamp": "2026-09-21' in plain(rows[0])


class Subscribed:
    """A subscription whose messages the test gives."""

    filters: tuple[str, ...] = ()
    payloads: tuple[bytes, ...] = ()
    error: Exception | None = None

    def __init__(self, _: object, filters: list[str], received: Callable[..., None]) -> None:
        type(self).filters = tuple(filters)
        self._received = received

    def __enter__(self) -> None:
        if self.error is not None:
            raise self.error
        for payload in self.payloads:
            self._received(TOPIC, payload)

    def __exit__(self, *_: object) -> None:
        pass


def run(
    monkeypatch: pytest.MonkeyPatch,
    bucket: Bucket,
    *arguments: str,
    payloads: tuple[bytes, ...] = (),
    error: Exception | None = None,
) -> Result:
    class Session:
        def client(self, _: str) -> Any:
            return self

        def describe_stacks(self, **_: Any) -> dict[str, Any]:
            outputs = [
                {"OutputKey": key, "OutputValue": key} for key in ("RawBucket", "ParsedBucket")
            ]
            return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}

        list_objects_v2 = staticmethod(bucket.list_objects_v2)
        get_object = staticmethod(bucket.get_object)

    monkeypatch.setattr(Subscribed, "payloads", payloads)
    monkeypatch.setattr(Subscribed, "error", error)
    monkeypatch.setattr(command, "Subscription", Subscribed)
    monkeypatch.setattr(command, "_POLL_SECONDS", 0.02)
    opened = AwsEnvironment("dev", cast("Any", Session()), ACCOUNT, REGION, Path())
    monkeypatch.setattr(aws, "session_for", lambda _: opened)
    return CliRunner().invoke(command.main, ["--env", "dev", *arguments])


def now_bucket(*lines: bytes) -> Bucket:
    """A bucket with one object that was just written."""
    bucket, now = Bucket(), datetime.now(UTC)
    key = f"raw/telemetry/{now:dt=%Y-%m-%d/hour=%H}/a.ndjson.gz"
    bucket.objects[key] = (b"\n".join(lines), now)
    return bucket


def test_a_message_that_came_over_mqtt_is_not_shown_again_from_the_bucket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = now_bucket(raw_line(GOOD), raw_line(GOOD), raw_line({**GOOD, "humidity": 1}))
    # Firehose writes the object only after the subscriber has the message.
    bucket_before, bucket.objects = bucket.objects, {}

    def listed_later(**request: Any) -> dict[str, Any]:
        if bucket.lists == 2:
            bucket.objects = bucket_before
        return Bucket.list_objects_v2(bucket, **request)

    monkeypatch.setattr(bucket, "list_objects_v2", listed_later)
    result = run(monkeypatch, bucket, "--for", "0.4", "--format", "json", payloads=(encoded(GOOD),))
    assert result.exit_code == ExitStatus.OK, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["via"], one["payload"]["humidity"]) for one in found] == [
        ("mqtt", 40),
        ("s3", 40),
        ("s3", 1),
    ]
    assert Subscribed.filters == ("dt/dev/+/telemetry", "dt/dev/+/telemetry/+")


def test_count_ends_it_after_so_many_lines_and_thing_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [raw_line(GOOD, thing) for thing in ("other", "sensor-1", "sensor-1", "sensor-1")]
    arguments = ("--hop", "raw", "--thing", "sensor-1", "--count", "2", "--format", "json")
    result = run(monkeypatch, now_bucket(*lines), *arguments)
    assert result.exit_code == ExitStatus.OK
    assert [json.loads(line)["raw_line"] for line in result.stdout.splitlines()] == [2, 3]
    assert "2 lines shown" in result.stderr


def test_a_refused_subscription_is_a_warning_and_objects_are_still_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = ConnectionRefused("the broker refuses the subscription: NOT_AUTHORIZED")
    result = run(monkeypatch, now_bucket(raw_line(GOOD)), "--count", "1", error=refused)
    assert result.exit_code == ExitStatus.OK
    assert "warning: the broker refuses the subscription" in result.stderr
    assert "via s3" in result.stdout


def test_ctrl_c_ends_it_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = now_bucket()

    def interrupted(**_: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(bucket, "list_objects_v2", interrupted)
    result = run(monkeypatch, bucket, "--hop", "raw")
    assert result.exit_code == ExitStatus.OK
    assert result.stderr.splitlines()[-1] == "0 lines shown"


def test_messages_that_wait_beyond_the_limit_are_counted_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payloads = (encoded(GOOD),) * 1003
    result = run(monkeypatch, Bucket(), "--for", "2", "--count", "1000", payloads=payloads)
    assert "a sample: 3 messages over MQTT not shown" in result.stderr
