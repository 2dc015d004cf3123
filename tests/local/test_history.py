"""End to end on the local stack: the state machine rebuilds hours into the daily table."""

import gzip
import io
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq

from contracts import names
from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_for, wait_until
from tests.local.paho_client import connected

NOW = datetime.now(UTC).replace(microsecond=0)


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def reading(moment: datetime, **fields: Any) -> dict[str, Any]:
    good = {"temperature": 21.5, "humidity": 40, "battery": 99.5, "status": "ok"}
    return {"timestamp": milliseconds(moment)} | good | fields


def publish(device: Identity, *payloads: Any) -> None:
    topic = names.basic_ingest_topic(ENVIRONMENT, device.device.thing_name, CHANNEL)
    with connected(device.folder) as client:
        for payload in payloads:
            client.publish(topic, json.dumps(payload).encode())


def hours_of(lake: Lake, thing: str) -> list[str]:
    """The hours in which messages of ``thing`` arrived, as prefixes of raw keys."""
    raw = lake.objects("RawBucket", f"raw/{CHANNEL}/")
    mark = f"/{thing}/".encode()
    return sorted({key.rpartition("/")[0] for key in raw if mark in gzip.decompress(raw[key])})


def start_of(prefix: str) -> datetime:
    return datetime.strptime(prefix, f"raw/{CHANNEL}/dt=%Y-%m-%d/hour=%H").replace(tzinfo=UTC)


def rebuild(lake: Lake, **request: Any) -> dict[str, Any]:
    """Run the machine to its end; return the counts of its map."""
    states = lake.client("stepfunctions")
    machine = lake.resource("AWS::StepFunctions::StateMachine", "History")
    arn = states.start_execution(stateMachineArn=machine, input=json.dumps(request))["executionArn"]

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = states.describe_execution(executionArn=arn)
        return None if found["status"] == "RUNNING" else found

    execution = wait_until(ended, f"the end of {arn}")
    assert execution is not None
    assert execution["status"] == "SUCCEEDED", execution
    (run,) = states.list_map_runs(executionArn=arn)["mapRuns"]
    counts: dict[str, Any] = states.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
    return counts


def daily_rows(lake: Lake, thing: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of ``thing``, by day, in the order of the objects."""
    found: dict[str, list[dict[str, Any]]] = {}
    for key, body in sorted(lake.objects("ParsedBucket", f"daily/{CHANNEL}/").items()):
        day = key.split("day=")[1].partition("/")[0]
        rows = pq.read_table(io.BytesIO(body)).to_pylist()
        if of_thing := [row for row in rows if row["thing_name"] == thing]:
            found.setdefault(day, []).extend(of_thing)
    return found


def test_the_daily_table_holds_exactly_the_readings_twice_in_a_row(
    lake: Lake, device: Identity, run_module: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    thing = device.device.thing_name
    late, wrong = NOW - timedelta(days=2), NOW + timedelta(days=400)
    publish(device, reading(NOW))
    wait_for(lambda: lake.raw_lines(thing), 1, "messages")
    publish(
        device,
        [reading(NOW), reading(NOW, sequence=1)],  # the first one repeats one of another object
        [{"temperature": "warm"}, reading(late)],  # the first one is rejected
        reading(wrong),
    )
    wait_for(lambda: lake.raw_lines(thing), 4, "messages")
    hours = hours_of(lake, thing)
    request = {
        "from": start_of(hours[0]).isoformat(),
        "to": (start_of(hours[-1]) + timedelta(hours=1)).isoformat(),
    }
    today = start_of(hours[0]).date().isoformat()
    expected = {
        late.date().isoformat(): [late],
        today: [NOW, NOW, wrong],
    }
    contents = []
    for again in ({}, {}, {"force": True}):
        counts = rebuild(lake, **request, **again)
        assert (counts["total"], counts["failed"]) == (len(hours), 0)
        rows = daily_rows(lake, thing)
        found = {day: [row["timestamp"] for row in of_day] for day, of_day in rows.items()}
        assert found == expected
        assert [row["sequence"] for row in rows[today]] == [None, 1, None]
        contents.append(lake.objects("ParsedBucket", f"daily/{CHANNEL}/"))
    assert contents[0] == contents[1] == contents[2]

    sql = f"SELECT count(*) AS readings FROM {CHANNEL}_daily WHERE thing_name = '{thing}'"
    answer = run_module("ops.query", sql, "--env", ENVIRONMENT, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {"readings": 4}


def test_an_object_that_cannot_be_read_is_skipped_and_named(lake: Lake) -> None:
    s3, hour = lake.client("s3"), (NOW - timedelta(days=3)).replace(minute=0, second=0)
    poison = {
        "Bucket": lake.bucket("RawBucket"),
        "Key": f"raw/{CHANNEL}/{hour:dt=%Y-%m-%d/hour=%H}/poison.ndjson.gz",
    }
    s3.put_object(**poison, Body=b"\x1f\x8b poison")
    try:
        request = {"from": hour.isoformat(), "to": (hour + timedelta(hours=1)).isoformat()}
        assert rebuild(lake, **request)["succeeded"] == 1
    finally:
        s3.delete_object(**poison)
    manifest = f"manifests/{CHANNEL}/{hour:%Y-%m-%dT%H}.json"
    (content,) = lake.objects("ParsedBucket", manifest).values()
    assert [one["key"] for one in json.loads(content)["skipped"]] == [poison["Key"]]


def test_without_a_request_the_closed_hours_of_two_days_are_rebuilt(lake: Lake) -> None:
    assert rebuild(lake)["total"] == 48


def test_an_hour_that_fails_is_counted_although_the_execution_succeeds(lake: Lake) -> None:
    hour = (NOW - timedelta(days=1)).replace(minute=0, second=0)
    request = {
        "from": hour.isoformat(),
        "to": (hour + timedelta(hours=1)).isoformat(),
        "channels": [CHANNEL, "nosuch"],
    }
    counts = rebuild(lake, **request)
    assert (counts["total"], counts["succeeded"], counts["failed"]) == (2, 1, 1)
    found = lake.client("cloudwatch").list_metrics(MetricName="HoursFailed")["Metrics"]
    assert [metric["Dimensions"] for metric in found] == [[{"Name": "service", "Value": "rebuild"}]]


def test_replay_makes_both_tables_again(
    lake: Lake, device: Identity, run_module: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    thing = device.device.thing_name
    publish(device, [reading(NOW), reading(NOW, sequence=1)])
    wait_for(lambda: lake.rows(thing), 2, "rows")
    (hour,) = hours_of(lake, thing)
    live = f"parsed/{hour.removeprefix('raw/')}/"
    for key in lake.objects("ParsedBucket", live):
        lake.client("s3").delete_object(Bucket=lake.bucket("ParsedBucket"), Key=key)
    command = (
        *("ops.replay", "--env", ENVIRONMENT, "--channel", CHANNEL, "--format", "json"),
        *("--from", start_of(hour).isoformat()),
        *("--to", (start_of(hour) + timedelta(hours=1)).isoformat()),
    )
    planned = run_module(*command, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["live_objects"] >= 1
    assert lake.rows(thing) == []
    for _ in range(2):
        done = run_module(*command, "--yes")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["rebuilt"], report["failed"], report["not_tried"]) == (1, [], 0)
        assert report["after"]["rows"] >= 2
        wait_for(lambda: lake.rows(thing), 2, "rows")
        assert [len(rows) for rows in daily_rows(lake, thing).values()] == [2]
    period = command[command.index("--from") :]
    verified = run_module("ops.verify", "--env", ENVIRONMENT, *period, "--format", "json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["findings"] == []
