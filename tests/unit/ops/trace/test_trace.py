"""ops.trace: one message is found and followed, whatever the bucket holds."""

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from device import aws
from device.aws import AwsEnvironment
from device.errors import ExitStatus
from ops.raw_objects import RawObject
from ops.trace import __main__ as command
from ops.trace import search
from tests.unit.device.fakes import ACCOUNT, REGION
from tests.unit.ops.trace.cloud import GOOD, HOUR, KEY, MANIFEST, Cloud, line


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def run(monkeypatch: pytest.MonkeyPatch, cloud: Cloud, *arguments: str) -> Result:
    opened = AwsEnvironment("dev", cast("Any", cloud), ACCOUNT, REGION, Path())
    monkeypatch.setattr(aws, "session_for", lambda _: opened)
    return CliRunner().invoke(command.main, ["--env", "dev", *arguments])


def hops(result: Result) -> dict[str, Any]:
    assert result.exit_code == ExitStatus.OK, result.stderr
    return {hop["hop"]: hop for hop in json.loads(result.stdout)["hops"]}


def at_line(number: int, key: str = KEY) -> tuple[str, ...]:
    return "--raw-key", key, "--raw-line", str(number), "--format", "json"


def test_a_message_is_followed_from_its_place_through_every_hop(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {**GOOD, "temperature": "very hot"}
    other = line(GOOD, thing="other", trace="t-0")
    cloud.add_batch(tmp_path, other, line([GOOD, bad, {**GOOD, "humidity": 41}]))
    cloud.log = [json.dumps({"message": "parsed", "raw_key": KEY}), "parsed something else"]
    day = f"{datetime.fromtimestamp(GOOD['timestamp'] / 1000, UTC):%Y-%m-%d}"  # type: ignore[operator]
    outputs = [f"daily/telemetry/day={each}/2026-11-25T10.parquet" for each in (day, "2026-01-01")]
    manifest = {
        "inputs": [{"key": KEY}],
        "skipped": [],
        "outputs": [{"key": key} for key in outputs],
    }
    cloud.add(MANIFEST, json.dumps(manifest).encode(), 7200)
    found = hops(run(monkeypatch, cloud, *at_line(2)))
    assert found["message"]["details"][0] == {
        "thing_name": "sensor-1",
        "customer": None,
        "received_at": "2026-11-25 10:30:00.000Z",
        "topic": "dt/dev/sensor-1/telemetry",
        "client_id": "sensor-1",
        "certificate_id": "cert",
        "trace_id": "t-1",
        "readings": 3,
    }
    assert found["raw"]["seconds"] == 60
    assert found["parsed"]["seconds"] == 62
    rows = found["parsed"]["details"]
    assert [(row["reading_index"], row["humidity"]) for row in rows] == [(0, 40.0), (2, 41.0)]
    (rejection,) = found["rejected"]["details"]
    assert (rejection["reading_index"], rejection["path"]) == (1, "$.temperature")
    assert found["log"]["seconds"] == 63
    assert found["daily"]["what"] == outputs[0]
    assert found["daily"]["seconds"] == 7200


def test_the_text_shows_the_seconds_and_no_control_character(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_batch(tmp_path, line({**GOOD, "status": "ok"}, trace="t\x1b[2J"))
    result = run(monkeypatch, cloud, *at_line(1)[:4])
    assert result.exit_code == ExitStatus.OK
    assert "\x1b" not in result.stdout
    assert "t\\x1b[2J" in result.stdout
    assert "+60.0 s" in result.stdout
    assert "no manifests/telemetry/2026-11-25T10.json" in result.stdout


@pytest.mark.parametrize(
    "hostile",
    [
        b"no JSON \x1b[2J",
        b"[]",
        b"[" * 100_000,
        b'{"payload": 1, "topic": [], "received_at": "now", "trace_id": {}}',
        b'{"payload": "e30=", "topic": null, "received_at": 1e300}',
    ],
)
def test_a_line_that_is_no_envelope_is_followed_as_well(
    hostile: bytes, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_batch(tmp_path, line(GOOD), hostile, line(GOOD))
    found = hops(run(monkeypatch, cloud, *at_line(2)))
    assert found["message"]["time"] is None
    assert found["parsed"]["time"] is None
    assert len(found["rejected"]["details"]) == 1
    text = run(monkeypatch, cloud, *at_line(2)[:4])
    assert text.exit_code == ExitStatus.OK
    assert "\x1b" not in text.stdout


def test_a_trace_id_is_found_among_lines_that_only_quote_it(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add(f"raw/{HOUR}/a-damaged.ndjson.gz", gzip.compress(line(GOOD) * 99)[:-9])
    quoting = line(GOOD, trace="t-12", thing="t-1")
    cloud.add_batch(tmp_path, b"t-1 \xff", quoting, line(GOOD, trace="t-1", thing="right"))
    wanted = ("--from", "2026-11-25T10:00", "--to", "2026-11-25T11:00", "--format", "json")
    result = run(monkeypatch, cloud, "--trace-id", "t-1", *wanted)
    assert hops(result)["raw"]["what"] == f"{KEY} line 3"
    assert "a-damaged.ndjson.gz cannot be read to its end" in result.stderr


def test_of_a_thing_the_message_nearest_to_the_time_is_found(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_batch(
        tmp_path,
        line(GOOD, seconds=-40),
        line(GOOD, seconds=5, thing="sensor-11"),
        line(GOOD, seconds=20, trace="nearest"),
        line(GOOD, seconds=90),
    )
    arguments = ("--thing", "sensor-1", "--at", "2026-11-25T10:30", "--format", "json")
    found = hops(run(monkeypatch, cloud, *arguments))
    assert found["message"]["details"][0]["trace_id"] == "nearest"


def test_a_message_too_far_from_the_time_is_not_taken(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_batch(tmp_path, line(GOOD, seconds=301))
    result = run(monkeypatch, cloud, "--thing", "sensor-1", "--at", "2026-11-25T10:30")
    assert result.exit_code == ExitStatus.NOT_FOUND
    assert "got none in 1 raw object; run python -m ops.recover --env dev" in result.stderr


def test_a_search_reads_no_more_objects_than_it_may_and_says_so(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        cloud.add(f"raw/{HOUR}/{number}.ndjson.gz", gzip.compress(line(GOOD, trace="t-9")))
    wanted = ("--from", "2026-11-25T10:00", "--to", "2026-11-25T11:00", "--most", "3")
    result = run(monkeypatch, cloud, "--trace-id", "t-1", *wanted)
    assert result.exit_code == ExitStatus.NOT_FOUND
    assert "3 raw objects read, which is the limit" in result.stderr
    assert len(cloud.read) == 3


@pytest.mark.parametrize(
    ("key", "number", "says"),
    [
        (KEY, 3, "expected a line 3"),
        (f"raw/{HOUR}/other.ndjson.gz", 1, "got no such object"),
        (f"raw/{HOUR}/damaged.ndjson.gz", 999, "expected whole gzip"),
    ],
)
def test_a_place_that_does_not_exist_is_one_line(
    key: str, number: int, says: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add(KEY, gzip.compress(line(GOOD) + b"\n" + line(GOOD)))
    cloud.add(f"raw/{HOUR}/damaged.ndjson.gz", gzip.compress(line(GOOD))[:-9])
    result = run(monkeypatch, cloud, *at_line(number, key))
    assert result.exit_code == ExitStatus.NOT_FOUND
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--thing", "a"),
        ("--raw-key", KEY),
        ("--raw-line", "1"),
        ("--trace-id", "t", "--thing", "a", "--at", "2026-11-25"),
        ("--raw-key", "raw/../secret", "--raw-line", "1"),
        ("--raw-key", "raw/nix/dt=2026-11-25/hour=10/a", "--raw-line", "1"),
        ("--trace-id", "t", "--from", "2026-11-25", "--to", "2026-11-24"),
    ],
)
def test_a_message_that_is_not_named_in_one_way_is_a_usage_error(
    arguments: tuple[str, ...], cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, cloud, *arguments).exit_code == ExitStatus.USAGE


@pytest.mark.parametrize("damaged", [b"", b"no Parquet", b"PAR1 damaged PAR1"])
def test_a_damaged_parsed_object_hides_no_other_hop(
    damaged: bytes, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_batch(tmp_path, line(GOOD))
    cloud.add(f"parsed/{HOUR}/batch.parquet", damaged)
    found = hops(run(monkeypatch, cloud, *at_line(1)))
    assert "expected whole Parquet" in found["parsed"]["what"]
    assert found["message"]["time"] is not None


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (b"no JSON", "is not a manifest"),
        (b'{"inputs": 1, "skipped": [], "outputs": []}', "is not a manifest"),
        (b'{"inputs": [], "skipped": [], "outputs": []}', "without this raw object"),
        (
            json.dumps(
                {"inputs": [], "skipped": [{"key": KEY, "reason": "no gzip"}], "outputs": []}
            ).encode(),
            "skipped: no gzip",
        ),
        (
            json.dumps({"inputs": [{"key": KEY}], "skipped": [], "outputs": []}).encode(),
            "no row of the message is in it",
        ),
    ],
)
def test_the_manifest_tells_why_a_message_is_in_no_daily_object(
    manifest: bytes,
    says: str,
    cloud: Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud.add_batch(tmp_path, line(GOOD))
    cloud.add(MANIFEST, manifest)
    daily = hops(run(monkeypatch, cloud, *at_line(1)))["daily"]
    assert says in daily["what"]
    assert daily["time"] is None


def test_a_reading_with_a_wrong_clock_is_under_its_day_of_arrival(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add_batch(tmp_path, line({**GOOD, "timestamp": 1_600_000_000_000}))
    output = "daily/telemetry/day=2026-11-25/2026-11-25T10.parquet"
    manifest = {"inputs": [{"key": KEY}], "skipped": [], "outputs": [{"key": output}]}
    cloud.add(MANIFEST, json.dumps(manifest).encode())
    assert hops(run(monkeypatch, cloud, *at_line(1)))["daily"]["what"] == output


def test_the_search_ends_at_the_first_match() -> None:
    objects = [RawObject("b", f"raw/{HOUR}/{name}", 1) for name in "abc"]
    opened: list[str] = []

    def open_(found: RawObject) -> io.BytesIO:
        opened.append(found.key[-1])
        return io.BytesIO(line(GOOD, trace=found.key[-1]))

    result = search.by_trace_id(objects, "b", open_, most=10, show=lambda _: None)
    assert result.place is not None
    assert opened == ["a", "b"]
