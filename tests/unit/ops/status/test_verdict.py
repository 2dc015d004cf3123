"""ops.status judges: what is wrong, the gravest first, and the command for it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.status import show
from ops.status.model import (
    Alarm,
    Channel,
    Count,
    HopObjects,
    Queue,
    ReadingCounts,
    Rebuild,
    Snapshot,
    TopReason,
)
from ops.status.verdict import duration, problems

NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
SOME = HopObjects(Count(3), NOW - timedelta(seconds=70))
HEALTHY = Channel(
    name="telemetry",
    raw=SOME,
    parsed=SOME,
    trigger="11-22",
    trigger_state="Enabled",
    late=Count(0),
    readings=ReadingCounts(Count(95), Count(5), "log"),
)


def taken(channel: Channel = HEALTHY, **more: Any) -> Snapshot:
    return Snapshot(environment="dev", taken_at=NOW, channels=(channel,), **more)


def rebuild(**more: Any) -> Rebuild:
    fields: dict[str, Any] = {
        "execution": "arn:e",
        "status": "SUCCEEDED",
        "started": NOW,
        "succeeded": NOW,
    }
    return Rebuild(**(fields | more))


TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"missing": "the queue triggers no function"}, "cdk deploy -c env=dev"),
    "stopped": (
        {"trigger_state": "Disabled"},
        "aws lambda update-event-source-mapping --uuid 11-22 --enabled",
    ),
    "delivery": ({"delivery_late_seconds": 61.0}, "python -m ops.doctor --env dev THING"),
    "undelivered": (
        {"undelivered": SOME},
        "python -m ops.recover --env dev --channel telemetry",
    ),
    "dead letters": (
        {"dead_letters": Queue(2), "newest_error": "expected whole gzip"},
        "python -m ops.redrive --env dev --channel telemetry --dry-run",
    ),
    "late": (
        {"late": Count(2, at_least=True), "queue": Queue(1)},
        "python -m ops.redrive --env dev --channel telemetry --dry-run",
    ),
    "rejected": (
        {
            "readings": ReadingCounts(Count(94), Count(6), "metrics"),
            "reasons": (TopReason(6, "expected a number", "$.temperature"),),
        },
        "python -m ops.query --env dev --named reasons --channel telemetry",
    ),
    "unknown fields": (
        {"readings": ReadingCounts(Count(9), Count(0), "log", ("co2",))},
        "python -m ops.raw --env dev --channel telemetry",
    ),
}


def test_a_healthy_pipeline_has_no_problem_and_says_so_first() -> None:
    assert problems(taken()) == []
    assert show.text(taken(), []).splitlines()[0] == "healthy; nothing to do"


def test_a_silent_pipeline_is_healthy_and_says_that_it_is_silent() -> None:
    silent = taken(replace(HEALTHY, raw=HopObjects(Count(0)), readings=None))
    assert problems(silent) == []
    assert "No message arrived" in show.text(silent, []).splitlines()[0]


@pytest.mark.parametrize("kind", TROUBLES)
def test_each_trouble_is_named_first_with_the_command_for_it(kind: str) -> None:
    changes, command = TROUBLES[kind]
    state = taken(replace(HEALTHY, **changes))
    (problem,) = problems(state)
    assert (problem.kind, problem.command) == (kind, command)
    first = show.text(state, [problem]).splitlines()[0]
    assert first == f"do this first: {command}  ({problem.text})"


def test_late_objects_that_wait_nowhere_need_a_replay() -> None:
    (problem,) = problems(taken(replace(HEALTHY, late=Count(2))))
    assert problem.kind == "late"
    assert problem.command == (
        "python -m ops.replay --env dev --channel telemetry "
        "--from 2026-11-25T08:00 --to 2026-11-25T10:30 --dry-run"
    )


def test_what_never_reached_the_raw_bucket_counts_wherever_it_is() -> None:
    both = replace(HEALTHY, undelivered=SOME, failed=HopObjects(Count(1000, at_least=True), NOW))
    texts = [problem.text for problem in problems(taken(both))]
    assert len(texts) == 2
    assert "3 objects" in texts[0]
    assert "at least 1,000 objects" in texts[1]
    assert "under failed/" in texts[1]


def test_the_gravest_problem_comes_first() -> None:
    every: dict[str, Any] = {}
    for changes, _ in TROUBLES.values():
        every |= changes
    alarms = (
        Alarm("telemetry-dev-MonitoringtelemetryErrorsAB", "The parser crashed.", NOW),
        Alarm("telemetry-dev-MonitoringtelemetryRuleMissingCD", "Messages are lost.", NOW),
    )
    state = taken(replace(HEALTHY, **every), alarms=alarms, rebuild=rebuild(status="FAILED"))
    kinds = [problem.kind for problem in problems(state)]
    assert kinds[0] == "lost"
    assert kinds.index("missing") < kinds.index("undelivered") < kinds.index("dead letters")
    assert kinds[-3:] == ["rebuild", "alarm", "unknown fields"]


def test_an_event_in_the_queue_is_late_when_no_new_object_can_be_its_cause() -> None:
    old = HopObjects(Count(0), NOW - timedelta(minutes=16))
    waiting = replace(HEALTHY, raw=old, queue=Queue(4))
    assert [problem.kind for problem in problems(taken(waiting))] == ["late"]
    fresh = replace(waiting, raw=HopObjects(Count(1), NOW - timedelta(minutes=14)))
    assert problems(taken(fresh)) == []


def test_the_age_that_a_metric_gives_decides_over_the_age_of_objects() -> None:
    for seconds, kinds in ((901.0, ["late"]), (900.0, [])):
        state = taken(replace(HEALTHY, queue=Queue(4, seconds)))
        assert [problem.kind for problem in problems(state)] == kinds


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (rebuild(hours=48, hours_failed=2), "2 hours of 48 could not be rebuilt"),
        (rebuild(status="TIMED_OUT"), "the last rebuild has TIMED_OUT"),
        (rebuild(succeeded=NOW - timedelta(hours=37)), "no rebuild has succeeded since"),
        (
            rebuild(status="RUNNING", started=NOW - timedelta(hours=37), succeeded=None),
            "none of the last rebuilds has succeeded",
        ),
    ],
)
def test_a_rebuild_that_failed_or_did_not_happen_is_a_problem(last: Rebuild, says: str) -> None:
    (problem,) = problems(taken(rebuild=last))
    assert says in problem.text
    assert "arn:e" in problem.command


@pytest.mark.parametrize(
    "last",
    [
        rebuild(hours=48, succeeded=NOW - timedelta(hours=35)),
        rebuild(status="RUNNING", succeeded=NOW - timedelta(hours=25)),
    ],
)
def test_a_rebuild_that_is_in_time_is_none(last: Rebuild) -> None:
    assert problems(taken(rebuild=last)) == []


def test_the_text_shows_each_hop_and_no_control_character() -> None:
    hostile = replace(
        HEALTHY,
        handed_on=Count(1200),
        rejected=SOME,
        reasons=(TopReason(5, "\x1b[2Jexpected", "$.a"),),
        reasons_sampled=True,
        readings=ReadingCounts(Count(95), Count(5, at_least=True), "log", ("co2\x07",)),
    )
    text = show.text(taken(hostile, rebuild=rebuild(hours=48)), [])
    assert "\x1b" not in text
    assert "\x07" not in text
    for part in (
        "1,200 messages",
        "3 objects             newest 1 min 10 s ago",
        "at least 5 readings, 5.0 %",
        "5 times: \\x1b[2Jexpected at $.a (in the newest objects)",
        "48 hours, 0 failed",
    ):
        assert part in text


def test_the_json_holds_the_verdict_and_every_number() -> None:
    state = taken(replace(HEALTHY, dead_letters=Queue(2)), rebuild=rebuild())
    record = json.loads(json.dumps(show.record(state, problems(state))))
    assert record["healthy"] is False
    assert record["problems"][0]["kind"] == "dead letters"
    assert record["channels"][0]["raw"] == {
        "count": {"value": 3, "at_least": False},
        "newest": "2026-11-25 10:28:50Z",
    }
    assert record["rebuild"]["started"] == "2026-11-25 10:30:00Z"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (183_900, "2 d 3 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
