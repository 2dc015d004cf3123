"""Judge a pipeline's state: what is wrong, the gravest first, and what to do. Pure."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from device import aws, cli
from ops.doctor.metrics import LATE_SECONDS
from ops.status.model import Channel, Count, Rebuild, Snapshot

# Share of readings at which the stack's alarm goes off.
REJECTED_PERCENT = 5
# History is rebuilt every night; one night may be slow.
_REBUILD_EVERY = timedelta(hours=36)

# The alarms of messages that are lost while they are in this state.
LOSSES = ("RuleMissing", "RuleThrottled", "RuleLosses")
_RANKS = (
    *("lost", "missing", "stopped", "delivery", "undelivered", "dead letters", "late"),
    *("rejected", "rebuild", "alarm", "unknown fields"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: One of a few kinds; it decides how grave the problem is.
        text: What is wrong, in one line.
        command: The command that fixes it or shows more.
    """

    kind: str
    text: str
    command: str


def problems(snapshot: Snapshot) -> list[Problem]:
    """Everything that is wrong, the gravest first; empty if the pipeline is healthy."""
    found = [*_alarms(snapshot), *_of_rebuild(snapshot.rebuild, snapshot.taken_at)]
    for channel in snapshot.channels:
        found += _of_channel(snapshot, channel)
    return sorted(found, key=lambda problem: _RANKS.index(problem.kind))


def _alarms(snapshot: Snapshot) -> Iterator[Problem]:
    for alarm in snapshot.alarms:
        kind = "lost" if any(name in alarm.name for name in LOSSES) else "alarm"
        yield Problem(
            kind,
            f"the alarm {alarm.name} is in ALARM: {alarm.meaning}",
            f"aws cloudwatch describe-alarms --alarm-names {shlex.quote(alarm.name)}",
        )


def _of_channel(snapshot: Snapshot, channel: Channel) -> Iterator[Problem]:
    options = f"--env {snapshot.environment} --channel {channel.name}"
    redrive = f"python -m ops.redrive {options} --dry-run"
    if channel.missing is not None:
        yield _of(channel, "missing", channel.missing, aws.deploy_command(snapshot.environment))
    if channel.trigger_state not in {None, "Enabled", "Enabling", "Creating", "Updating"}:
        yield _of(
            channel,
            "stopped",
            f"the parser is not triggered: its event source mapping is {channel.trigger_state}",
            f"aws lambda update-event-source-mapping --uuid {channel.trigger} --enabled",
        )
    if channel.delivery_late_seconds is not None:
        yield _of(
            channel,
            "delivery",
            f"Firehose delivers {duration(channel.delivery_late_seconds)} too late",
            f"python -m ops.doctor --env {snapshot.environment} THING",
        )
    for name, objects in (("undelivered", channel.undelivered), ("failed", channel.failed)):
        if objects.count.value:
            yield _of(
                channel,
                "undelivered",
                f"{counted(objects.count, 'object')} of undelivered messages under {name}/",
                f"python -m ops.recover {options}",
            )
    if channel.dead_letters.events:
        text = f"{cli.counted(channel.dead_letters.events, 'raw object')} could not be parsed"
        yield _of(channel, "dead letters", _because(text, channel.newest_error), redrive)
    if (late := _late(channel, snapshot.taken_at)) is not None:
        # If nothing waits, the events are lost, and only a replay makes the rows.
        lost = not channel.queue.events and not channel.dead_letters.events
        command = _replay(options, snapshot.taken_at) if lost else redrive
        yield _of(channel, "late", _because(late, channel.newest_error), command)
    yield from _of_readings(snapshot, channel)


def _replay(options: str, now: datetime) -> str:
    start, end = now - timedelta(hours=2), now
    return (
        f"python -m ops.replay {options} --from {start:%Y-%m-%dT%H:00} --to {end:%Y-%m-%dT%H:%M} "
        "--dry-run"
    )


def _late(channel: Channel, now: datetime) -> str | None:
    """What the parser is behind with; None if it is in time."""
    if channel.late is not None and channel.late.value:
        return (
            f"{counted(channel.late, 'raw object')} waited longer than {duration(LATE_SECONDS)} "
            "and has no output"
        )
    oldest = channel.queue.oldest_seconds
    # Each event is about an object, so without new objects all events are old.
    if oldest is None and channel.queue.events and channel.raw.newest is not None:
        oldest = (now - channel.raw.newest).total_seconds()
    if oldest is None or oldest <= LATE_SECONDS:
        return None
    return (
        f"{cli.counted(channel.queue.events, 'event')} in the parser's queue, "
        f"the oldest {duration(oldest)} old"
    )


def _of_readings(snapshot: Snapshot, channel: Channel) -> Iterator[Problem]:
    readings, query = channel.readings, f"python -m ops.query --env {snapshot.environment}"
    if readings is None:
        return
    percent = readings.rejected_percent
    if percent is not None and percent > REJECTED_PERCENT:
        top = next(iter(channel.reasons), None)
        text = f"{percent:.1f} % of the last hour's readings were rejected"
        if top is not None:
            text += f", mostly: {top.reason}" + (f" at {top.path}" if top.path else "")
        command = f"{query} --named reasons --channel {channel.name}"
        yield _of(channel, "rejected", text, command)
    if readings.unknown_fields:
        yield _of(
            channel,
            "unknown fields",
            f"devices send fields that the contract lacks: {', '.join(readings.unknown_fields)}",
            f"python -m ops.raw --env {snapshot.environment} --channel {channel.name}",
        )


def _of_rebuild(rebuild: Rebuild | None, now: datetime) -> Iterator[Problem]:
    if rebuild is None:
        return
    command = (
        f"aws stepfunctions get-execution-history --reverse-order "
        f"--execution-arn {shlex.quote(rebuild.execution)}"
    )
    if rebuild.hours_failed:
        yield Problem(
            "rebuild",
            f"history: {cli.counted(rebuild.hours_failed, 'hour')} of {rebuild.hours} could not be "
            "rebuilt",
            f"aws stepfunctions list-map-runs --execution-arn {shlex.quote(rebuild.execution)}",
        )
    elif rebuild.status not in {"RUNNING", "SUCCEEDED", "PENDING_REDRIVE"}:
        yield Problem("rebuild", f"history: the last rebuild has {rebuild.status}", command)
    elif now - (rebuild.succeeded or rebuild.started) > _REBUILD_EVERY:
        yield Problem(
            "rebuild",
            f"history: no rebuild has succeeded since {cli.utc(rebuild.succeeded)}"
            if rebuild.succeeded
            else "history: none of the last rebuilds has succeeded",
            command,
        )


def _of(channel: Channel, kind: str, text: str, command: str) -> Problem:
    return Problem(kind, f"{channel.name}: {text}", command)


def _because(text: str, error: str | None) -> str:
    return text if error is None else f"{text}; the newest error: {error}"


def counted(count: Count, singular: str) -> str:
    """A count for people: ``3 objects``, ``at least 1,000 objects``."""
    return ("at least " if count.at_least else "") + cli.counted(count.value, singular)


def duration(seconds: float) -> str:
    """A duration for people, in its two largest units: ``3 s``, ``4 min 10 s``, ``2 d 3 h``."""
    left = max(0, round(seconds))
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts: list[str] = []
    for size, name in units:
        if left >= size or (not parts and size == 1):
            parts.append(f"{left // size} {name}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2])
