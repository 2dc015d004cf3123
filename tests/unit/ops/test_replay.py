"""ops.replay: what it chooses, what it starts, and what it says of failures."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from device.errors import AwsError
from ops import executions, replay
from ops.executions import HOUR, FailedHour, HistoryMachine
from ops.raw_objects import RawObject

START = datetime(2026, 11, 22, 9, tzinfo=UTC)


def raw(hour: str, name: str = "a", size: int = 1_000_000) -> RawObject:
    return RawObject("raw", f"raw/telemetry/dt={hour[:10]}/hour={hour[11:]}/{name}.ndjson.gz", size)


def test_the_plan_covers_whole_hours_and_renews_what_the_live_table_has() -> None:
    found = [raw(f"2026-11-{day}T{hour}") for day in (21, 22) for hour in ("08", "09", "10", "11")]
    made = replay.plan(
        found,
        *executions.whole_hours(
            datetime(2026, 11, 21, 9, 30, tzinfo=UTC), datetime(2026, 11, 22, 10, 1, tzinfo=UTC)
        ),
        live_since=datetime(2026, 11, 22, 23, tzinfo=UTC),
    )
    assert (made.start, made.end) == (START - timedelta(days=1), START + 2 * HOUR)
    assert [one.hour[3:] for one in made.objects] == [
        *(f"2026-11-21/hour={hour}" for hour in ("09", "10", "11")),
        *(f"2026-11-22/hour={hour}" for hour in ("08", "09", "10")),
    ]
    assert [one.hour[3:13] for one in made.live] == ["2026-11-22"] * 3
    assert made.record()["raw_bytes"] == 6_000_000
    assert made.record()["hours"] == 6


def test_an_end_at_a_full_hour_excludes_that_hour() -> None:
    assert executions.whole_hours(START, START + HOUR) == (START, START + HOUR)
    assert replay.plan([raw("2026-11-22T10")], START, START + HOUR, START).objects == ()


def test_a_long_time_is_divided_into_what_one_execution_can_take() -> None:
    parts = list(executions.ranges(START, START + 7000 * HOUR))
    assert [(end - start) // HOUR for start, end in parts] == [3000, 3000, 1000]
    assert [start for start, _ in parts][1:] == [end for _, end in parts][:-1]


class FakeQueue:
    """Takes batches of events; refuses those of which ``refused`` is part."""

    def __init__(self, refused: str = "nothing") -> None:
        self.bodies: list[str] = []
        self._refused = refused

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert QueueUrl == "url"
        assert len(Entries) <= 10
        failed = [{"Message": "no"} for one in Entries if self._refused in one["MessageBody"]]
        self.bodies += [one["MessageBody"] for one in Entries]
        return {"Failed": failed}


def test_an_event_is_sent_for_each_object_as_s3_would() -> None:
    queue, shown = FakeQueue(), list[int]()
    replay.renew(queue, "url", [raw("2026-11-22T09", f"a b{n}") for n in range(23)], shown.append)
    assert shown == [10, 20, 23]
    (record,) = json.loads(queue.bodies[0])["Records"]
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["s3"]["bucket"]["name"] == "raw"
    assert record["s3"]["object"]["key"].endswith("a+b0.ndjson.gz")


def test_an_event_that_sqs_refuses_ends_the_command() -> None:
    with pytest.raises(AwsError, match="got: no; run the same command again"):
        replay.renew(FakeQueue("a.ndjson"), "url", [raw("2026-11-22T09")], lambda _: None)


class FakeStates:
    """Step Functions with one execution; hours in ``failing`` fail.

    Attributes:
        requests: The inputs of the executions that were started.
    """

    def __init__(
        self, failing: dict[str, str], *, status: str = "SUCCEEDED", total: int = 3
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self._failing = failing
        self._statuses = iter(["RUNNING", "RUNNING", status])
        self._total = total

    def start_execution(self, *, stateMachineArn: str, input: str) -> dict[str, str]:  # noqa: A002, N803
        assert stateMachineArn == "machine"
        self.requests.append(json.loads(input))
        return {"executionArn": "run"}

    def describe_execution(self, *, executionArn: str) -> dict[str, str]:  # noqa: N803
        if executionArn == "run":
            return {"status": next(self._statuses), "cause": "too many"}
        cause = self._failing[executionArn]
        return {"input": json.dumps({"hour": executionArn}), "error": "Failed", "cause": cause}

    def list_map_runs(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        assert executionArn == "run"
        return {"mapRuns": [{"mapRunArn": "map"}] if self._total else []}

    def describe_map_run(self, *, mapRunArn: str) -> dict[str, Any]:  # noqa: N803
        failed = len(self._failing)
        counts = {"total": self._total, "failed": failed, "succeeded": min(2, self._total - failed)}
        return {"mapRunArn": mapRunArn, "itemCounts": counts}

    def get_paginator(self, operation: str) -> "FakeStates":
        assert operation == "list_executions"
        return self

    def paginate(self, **arguments: str) -> Iterator[dict[str, Any]]:
        assert arguments == {"mapRunArn": "map", "statusFilter": "FAILED"}
        yield {"executions": [{"executionArn": hour} for hour in self._failing]}


def machine(states: FakeStates) -> HistoryMachine:
    return HistoryMachine(states, "machine", wait=lambda _: None)


def test_an_execution_is_asked_for_the_hours_and_followed_to_its_end() -> None:
    states, shown = FakeStates({}, total=2), list[int]()
    run = machine(states).rebuild(
        "telemetry", START, START + 2 * HOUR, force=True, show=shown.append
    )
    assert states.requests == [
        {
            "from": "2026-11-22T09:00:00+00:00",
            "to": "2026-11-22T11:00:00+00:00",
            "channels": ["telemetry"],
            "force": True,
        }
    ]
    assert (run.hours, run.rebuilt, run.failed) == (2, 2, ())
    assert shown == [2, 2]


def test_hours_that_failed_are_named_with_their_errors_and_those_not_tried_are_counted() -> None:
    failing = {
        "2026-11-22T09": json.dumps({"errorMessage": "telemetry 2026-11-22T09: raw is gone"}),
        "2026-11-22T10": "the function\ntimed out",
    }
    states = FakeStates(failing, status="FAILED", total=5)
    outcome = replay.rebuild(
        machine(states), "telemetry", [(START, START + 5 * HOUR)], force=False, show=lambda _: None
    )
    assert outcome.failed == (
        FailedHour(START, "Failed telemetry 2026-11-22T09: raw is gone"),
        FailedHour(START + HOUR, "Failed the function timed out"),
    )
    assert (outcome.rebuilt, outcome.not_tried) == (2, 1)


def test_an_execution_that_fails_without_an_hour_is_an_error() -> None:
    with pytest.raises(AwsError, match=r"got FAILED: too many; run the same command again"):
        machine(FakeStates({}, status="FAILED", total=0)).rebuild(
            "telemetry", START, START + HOUR, force=False, show=lambda _: None
        )


class FakeManifests:
    """A bucket with manifests."""

    class exceptions:  # noqa: N801  # boto3's names
        class NoSuchKey(ClientError):  # noqa: N818  # as above
            def __init__(self) -> None:
                super().__init__({}, "GetObject")

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        assert Bucket == "parsed"
        if not Key.endswith(("T09.json", "T10.json")):
            raise self.exceptions.NoSuchKey
        complete = Key.endswith("T09.json")
        content = {"complete": complete, "rows": 5, "rejected": 2, "repeated": 1}

        class Body:
            @staticmethod
            def read() -> bytes:
                return json.dumps(content).encode()

        return {"Body": Body}


def test_totals_are_those_of_complete_manifests() -> None:
    hours = ["2026-11-22T09", "2026-11-22T10", "2026-11-22T11"]
    assert replay.totals(FakeManifests(), "parsed", "telemetry", hours) == {
        "rows": 5,
        "rejected": 2,
        "repeated": 1,
    }


def test_the_live_table_says_how_far_it_goes_back() -> None:
    class Glue:
        def get_table(self, *, DatabaseName: str, Name: str) -> dict[str, Any]:  # noqa: N803
            assert (DatabaseName, Name) == ("telemetry_dev", "telemetry")
            return {"Table": {"Parameters": {"projection.dt.range": "NOW-35DAYS,NOW"}}}

    assert replay.live_days(Glue(), "dev", "telemetry") == 35
