"""ops.tap: each message once, whatever it holds, with the bad field marked; bounded reads."""

import base64
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner, Result

import contracts
from device import aws
from device.aws import AwsEnvironment
from device.errors import ConnectionRefused, ExitStatus
from ops.tap import __main__ as command
from ops.tap import messages, show
from ops.tap.follow import Follower
from ops.tap.messages import Fault, Reader, Tapped
from telemetry_parser.parser import Parser
from tests.unit.device.fakes import ACCOUNT, REGION
from tests.unit.ops.fakes import client_error

NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
CONTRACT = contracts.load("telemetry")
READER = Reader(CONTRACT)
TOPIC = "dt/dev/sensor-1/telemetry"
GOOD = {
    "timestamp": 1_790_000_000_123,
    "temperature": 21.5,
    "humidity": 40,
    "battery": 99.5,
    "status": "ok",
}
BAD = {**GOOD, "temperature": "very hot"}


def encoded(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def raw_line(payload: object, thing: str = "sensor-1") -> bytes:
    envelope = {
        "payload": base64.b64encode(encoded(payload)).decode(),
        "topic": f"dt/dev/{thing}/telemetry",
        "received_at": round(NOW.timestamp() * 1000),
    }
    return json.dumps(envelope).encode()


def message(payload: object) -> Tapped:
    return READER.message(TOPIC, encoded(payload), NOW)


def plain(tapped: Tapped) -> str:
    return click.unstyle(show.line(tapped, NOW + timedelta(seconds=70)))


def test_a_message_is_one_line_that_says_where_from_and_how_old() -> None:
    text = plain(message(GOOD))
    assert text.startswith(
        "2026-11-25 10:30:00.000Z  sensor-1  (message via mqtt, 1 min 10 s old)  {"
    )
    assert '"temperature": 21.5' in text
    assert ">>>" not in text


def test_the_bad_field_is_marked_and_the_line_ends_with_the_reason() -> None:
    text = plain(message([GOOD, BAD, {**BAD, "status": 7}]))
    assert "[reading 1 of 3]" in text
    assert '"temperature": >>>"very hot"<<<, "humidity"' in text
    assert "at $.temperature, and 1 more" in text
    assert "\x1b[31m>>>" in show.line(message(BAD), NOW)


def test_a_missing_field_has_a_reason_and_no_mark() -> None:
    without = {name: value for name, value in GOOD.items() if name != "status"}
    text = plain(message(without))
    assert "status" in text.partition("  ! ")[2]
    assert ">>>" not in text


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\x00\x1b[2J\x07", id="control characters"),
        pytest.param(b"\x1f\x8b damaged", id="no gzip"),
        pytest.param(gzip.compress(b"[1, 2]")[:-9], id="cut gzip"),
        pytest.param(b"[" * 100_000, id="very deep"),
        pytest.param(b"[" * 900 + b"]" * 900, id="just decodable"),
        pytest.param(b'{"a":' * 60 + b"1" + b"}" * 60, id="deep object"),
        pytest.param([], id="empty array"),
        pytest.param([[], {}, None, "x", 1e308], id="no readings"),
        pytest.param({**BAD, "temperature": ">>>\ue000<<<\n\x1b[31m"}, id="marks of our own"),
        pytest.param({**GOOD, "status": "\ud800"}, id="half a surrogate pair"),
        pytest.param({**GOOD, "temperature": 10**400}, id="huge number"),
        pytest.param({**GOOD, "temperature": {"$.a": [1]}}, id="another type"),
        pytest.param(b'{"temperature": NaN}', id="NaN"),
        pytest.param({"\x1b[2J$.": 1, "": {"": 1}}, id="hostile names"),
    ],
)
def test_any_payload_is_one_line_without_control_characters(payload: object) -> None:
    for tapped in (message(payload), READER.raw_line("raw", raw_line(payload), "raw/k", 1)):
        text = plain(tapped)
        assert text.isprintable()
        assert len(text) < 1200
        json.dumps(show.record(tapped, NOW))
        assert tapped.error or tapped.faults, "none of these is a good message"


@pytest.mark.parametrize(
    "line", [b"no envelope \x1b", b"[]", b"{}", b'{"payload": "e30=", "topic": {}}', b"\xff"]
)
def test_a_raw_line_that_is_no_envelope_is_one_line(line: bytes) -> None:
    assert plain(READER.raw_line("raw", line, "raw/k", 1)).isprintable()
    assert messages.rejected(line).error == "not a rejected line"
    assert plain(messages.rejected(line)).isprintable()


def test_a_rejected_reading_is_shown_with_its_reason_as_the_parser_wrote_it(
    tmp_path: Path,
) -> None:
    rejected = tmp_path / "rejected"
    Parser(CONTRACT).parse(
        io.BytesIO(raw_line([GOOD, BAD])),
        raw_key="raw/k",
        parquet_path=tmp_path / "parquet",
        rejected_path=rejected,
    )
    (line,) = gzip.decompress(rejected.read_bytes()).splitlines()
    tapped = messages.rejected(line)
    assert tapped.payload == BAD
    assert (tapped.raw_key, tapped.raw_line) == ("raw/k", 1)
    (fault,) = tapped.faults
    assert (fault.reading_index, fault.path) == (1, "$.temperature")
    assert '>>>"very hot"<<<' in plain(tapped)
    assert READER.raw_line("raw", raw_line([GOOD, BAD]), "raw/k", 1).faults == (fault,)


@pytest.mark.parametrize("index", [-1, 7, "1", None, {}])
def test_a_rejected_line_with_a_hostile_index_is_still_shown(index: object) -> None:
    document = {
        "reason": "r",
        "path": "$.a",
        "raw_key": "k",
        "raw_line": 1,
        "reading_index": index,
        "line": base64.b64encode(raw_line([GOOD])).decode(),
    }
    assert plain(messages.rejected(json.dumps(document).encode())).isprintable()


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


def test_the_first_fault_decides_what_is_shown_of_a_packed_message() -> None:
    tapped = message([GOOD] * 400)
    assert "[reading 0 of 400]" in plain(tapped)
    assert tapped.faults == ()
    assert message([]).faults == (Fault(None, "expected a reading, got an empty array", None),)
