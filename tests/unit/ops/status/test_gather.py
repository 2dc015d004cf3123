"""ops.status gathers: each number as an independent count has it, and bounded work."""

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from device import aws
from device.aws import AwsEnvironment
from device.errors import ExitStatus
from ops.status import __main__ as command
from ops.status import gather
from ops.status.model import Count, Queue, TopReason
from tests.unit.device.fakes import ACCOUNT, REGION
from tests.unit.ops.status.cloud import NOW, Aws, hour


@pytest.fixture
def cloud() -> Aws:
    return Aws()


def opened(cloud: Aws) -> AwsEnvironment:
    return AwsEnvironment("dev", cast("Any", cloud), ACCOUNT, REGION, Path())


def channel_of(cloud: Aws) -> Any:
    return gather.snapshot(opened(cloud), ["telemetry"], NOW).channels[0]


def parsed_line(key: str, readings: int, rejected: int, **more: Any) -> str:
    counts = {"raw_key": key, "readings_parsed": readings, "readings_rejected": rejected}
    return json.dumps({"message": "parsed", **counts, **more})


def test_counts_the_objects_of_the_last_hour_only(cloud: Aws) -> None:
    for minutes in (1, 30, 59, 61, 100):
        cloud.s3.add(f"raw/telemetry/{hour(minutes / 60)}/{minutes}.ndjson.gz", minutes)
    cloud.s3.add("raw/telemetry_2/dt=2026-01-01/hour=00/other.ndjson.gz", 1)
    raw = channel_of(cloud).raw
    assert raw.count == Count(3)
    assert raw.newest == NOW - timedelta(minutes=1)


def test_after_a_silence_the_newest_object_is_found_without_listing_the_bucket(cloud: Aws) -> None:
    for day in range(1, 28):
        cloud.s3.add(f"raw/telemetry/dt=2026-01-{day:02}/hour=07/a.ndjson.gz", 60 * 24 * (90 - day))
    raw = channel_of(cloud).raw
    assert raw.count == Count(0)
    assert raw.newest == NOW - timedelta(days=63)
    assert cloud.s3.pages < 25


def test_a_listing_that_reaches_its_limit_is_a_lower_bound(
    cloud: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.status.buckets._MOST_OF_AN_HOUR", 2)
    for number in range(4):
        cloud.s3.add(f"raw/telemetry/{hour()}/{number}.ndjson.gz", 20)
    state = channel_of(cloud)
    assert state.raw.count == Count(2, at_least=True)
    assert state.late is None, "what was not listed may be parsed or not"


def test_a_raw_object_without_output_is_late_unless_the_log_has_it(cloud: Aws) -> None:
    for name, minutes in (
        ("parsed", 20),
        ("rejected", 20),
        ("blank", 20),
        ("lost", 20),
        ("new", 5),
    ):
        cloud.s3.add(f"raw/telemetry/{hour(minutes / 60)}/{name}.ndjson.gz", minutes)
    at = hour(20 / 60)
    cloud.s3.add(f"parsed/telemetry/{at}/parsed.parquet", 19)
    cloud.s3.add(f"rejected/telemetry/{at}/rejected.ndjson.gz", 19)
    cloud.log.append(parsed_line(f"raw/telemetry/{at}/blank.ndjson.gz", 0, 0))
    assert channel_of(cloud).late == Count(1)


def test_readings_come_from_the_log_once_per_object_where_there_are_no_metrics(cloud: Aws) -> None:
    cloud.log += [
        parsed_line("raw/a", 9, 1, unknown_fields=["co2"]),
        parsed_line("raw/b", 5, 0),
        parsed_line("raw/a", 8, 2, unknown_fields=["co2", "noise"]),
        "not JSON: parsed",
        '["parsed"]',
        parsed_line("raw/c", cast("int", "hostile"), 0, unknown_fields=None),
    ]
    readings = channel_of(cloud).readings
    assert (readings.parsed, readings.rejected) == (Count(13), Count(2))
    assert readings.unknown_fields == ("co2", "noise")
    assert readings.source == "log"


def test_a_log_that_is_longer_than_its_limit_is_a_lower_bound(
    cloud: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.status.gather._MOST_LOG_LINES", 2)
    cloud.log += [parsed_line(f"raw/{number}", 1, 0) for number in range(3)]
    assert channel_of(cloud).readings.parsed == Count(2, at_least=True)


def test_metrics_count_where_they_exist(cloud: Aws) -> None:
    cloud.log.append(parsed_line("raw/a", 1, 1, unknown_fields=["co2"]))
    cloud.metrics = {
        "Success": 1234,
        "ReadingsParsed": 900,
        "ApproximateAgeOfOldestMessage": 70,
        "DeliveryToS3.DataFreshness": 60 + 15 * 60 + 30,
    }
    cloud.events["live"] = 2
    state = channel_of(cloud)
    assert state.handed_on == Count(1234)
    assert (state.readings.parsed, state.readings.rejected) == (Count(900), Count(0))
    assert state.readings.source == "metrics"
    assert state.readings.unknown_fields == ("co2",)
    assert state.queue == Queue(2, 70)
    assert state.dead_letters == Queue(0), "an empty queue has no oldest event"
    assert state.delivery_late_seconds == 30


def test_the_top_reasons_are_counted_in_the_newest_rejected_objects(cloud: Aws) -> None:
    lines: list[dict[str, Any]] = [{"reason": "expected a number", "path": "$.temperature"}] * 2
    lines += [{"reason": "expected UTF-8", "path": None}]
    good = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    cloud.s3.add(f"rejected/telemetry/{hour()}/1.ndjson.gz", 1, gzip.compress(good))
    hostile = b'no JSON\n[]\n{"reason": 1}\n{"reason": {}, "path": []}\n'
    cloud.s3.add(f"rejected/telemetry/{hour()}/2.ndjson.gz", 2, gzip.compress(hostile))
    cloud.s3.add(f"rejected/telemetry/{hour()}/3.ndjson.gz", 3, gzip.compress(good)[:-9])
    state = channel_of(cloud)
    assert state.reasons[:2] == (
        TopReason(4, "expected a number", "$.temperature"),
        TopReason(2, "expected UTF-8", None),
    )
    assert state.reasons_sampled, "one object is damaged"


def test_only_so_many_rejected_objects_are_read(cloud: Aws) -> None:
    line = gzip.compress(b'{"reason": "r", "path": null}\n')
    for number in range(8):
        cloud.s3.add(f"rejected/telemetry/{hour()}/{number}.ndjson.gz", number, line)
    state = channel_of(cloud)
    assert state.reasons == (TopReason(5, "r", None),)
    assert state.reasons_sampled


def test_everything_pending_counts_however_old_it_is(cloud: Aws) -> None:
    cloud.s3.add("undelivered/telemetry/dt=2026-01-01/a.json", 60 * 24 * 30)
    cloud.s3.add("failed/format-conversion-failed/telemetry/dt=2026-01-01/hour=00/b", 50)
    cloud.s3.add("failed/processing-failed/telemetry/dt=2026-01-01/hour=00/c", 40)
    cloud.s3.add("failed/processing-failed/other/dt=2026-01-01/hour=00/d", 30)
    state = channel_of(cloud)
    assert state.undelivered.count == Count(1)
    assert state.failed.count == Count(2)
    assert state.failed.newest == NOW - timedelta(minutes=40)


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "UnauthorizedException"])
def test_a_missing_rule_is_named_and_the_other_hops_are_still_shown(cloud: Aws, code: str) -> None:
    cloud.rule_error = code
    cloud.events["dead"] = 3
    state = channel_of(cloud)
    assert "topic rule dev_telemetry" in state.missing
    assert state.dead_letters == Queue(3)


def test_a_queue_that_triggers_nothing_is_named(cloud: Aws) -> None:
    cloud.mappings = []
    state = channel_of(cloud)
    assert state.missing == "the queue triggers no function"
    assert state.trigger_state is None


def test_the_last_rebuild_is_the_newest_one_and_its_failed_hours_are_counted(cloud: Aws) -> None:
    def execution(name: str, status: str, hours_ago: int) -> dict[str, Any]:
        moment = NOW - timedelta(hours=hours_ago)
        return {
            "executionArn": name,
            "status": status,
            "startDate": moment,
            **({} if status == "RUNNING" else {"stopDate": moment}),
        }

    cloud.executions = [
        execution("old", "SUCCEEDED", 33),
        execution("new", "RUNNING", 9),
        execution("older", "SUCCEEDED", 57),
    ]
    last = gather.snapshot(opened(cloud), [], NOW).rebuild
    assert last is not None
    assert (last.execution, last.status, last.ended) == ("new", "RUNNING", None)
    assert (last.hours, last.hours_failed) == (48, 3)
    assert last.succeeded == NOW - timedelta(hours=33)


def run(monkeypatch: pytest.MonkeyPatch, cloud: Aws, *arguments: str) -> Any:
    monkeypatch.setattr(aws, "session_for", lambda _: opened(cloud))
    arguments = ("--env", "dev", "--channel", "telemetry", *arguments)
    return CliRunner().invoke(command.main, arguments)


def test_the_command_ends_with_0_only_if_all_is_well(
    cloud: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = run(monkeypatch, cloud)
    assert well.exit_code == ExitStatus.OK
    assert well.stdout.startswith("healthy")
    cloud.events["dead"] = 1
    unwell = run(monkeypatch, cloud, "--format", "json")
    assert unwell.exit_code == ExitStatus.UNHEALTHY
    record = json.loads(unwell.stdout)
    assert record["healthy"] is False
    assert record["channels"][0]["dead_letters"]["events"] == 1


def test_an_alarm_is_a_problem(cloud: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.alarms = [{"AlarmName": "telemetry-dev-x", "StateUpdatedTimestamp": NOW}]
    result = run(monkeypatch, cloud)
    assert result.exit_code == ExitStatus.UNHEALTHY
    assert "telemetry-dev-x" in result.stdout.splitlines()[0]


def test_a_watch_shows_it_again_and_ctrl_c_ends_it_with_the_last_verdict(
    cloud: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt
        cloud.events["dead"] = len(waits)

    monkeypatch.setattr("ops.status.__main__.time.sleep", wait)
    result = run(monkeypatch, cloud, "--watch", "--format", "json")
    assert result.exit_code == ExitStatus.UNHEALTHY
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["channels"][0]["dead_letters"]["events"] for one in records] == [0, 1, 2]
