"""Show a pipeline's state: as text for people, as JSON for programs. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from device import cli
from ops import times
from ops.status.model import Channel, Count, HopObjects, Queue, Rebuild, Snapshot
from ops.status.verdict import Problem, counted, duration
from ops.tables import printable


def record(snapshot: Snapshot, problems: Sequence[Problem]) -> dict[str, Any]:
    """The state and the verdict for ``--format json``."""
    return {
        "healthy": not problems,
        "problems": [asdict(problem) for problem in problems],
        **times.shown(asdict(snapshot), cli.utc),
    }


def text(snapshot: Snapshot, problems: Sequence[Problem]) -> str:
    """The state for people; its first line says what to do."""
    lines = [_first_line(snapshot, problems)]
    lines += [f"then: {problem.command}  ({problem.text})" for problem in problems[1:]]
    for channel in snapshot.channels:
        lines += ["", f"{channel.name}", *_hops(channel, snapshot.taken_at)]
    lines += ["", f"history: {_rebuild(snapshot.rebuild, snapshot.taken_at)}"]
    names = ", ".join(alarm.name for alarm in snapshot.alarms) or "none"
    lines.append(f"alarms in ALARM: {names}")
    lines.append(f"as of {cli.utc(snapshot.taken_at)}; counts are of the last hour")
    return "\n".join(map(printable, lines))


def _first_line(snapshot: Snapshot, problems: Sequence[Problem]) -> str:
    if problems:
        return f"do this first: {problems[0].command}  ({problems[0].text})"
    if not any(channel.raw.count.value for channel in snapshot.channels):
        return "healthy; nothing to do. No message arrived in the last hour"
    return "healthy; nothing to do"


def _hops(channel: Channel, now: datetime) -> Iterator[str]:
    handed_on = "no metric"
    if channel.handed_on is not None:
        handed_on = counted(channel.handed_on, "message")
    rows = [
        ("rule", handed_on, "", ""),
        ("raw", *_objects(channel.raw, now), ""),
        ("queue", *_queue(channel.queue, "waiting"), _trigger(channel)),
        ("parsed", *_objects(channel.parsed, now), _parsed(channel)),
        ("rejected", *_objects(channel.rejected, now), _rejected(channel)),
        ("dead letters", *_queue(channel.dead_letters, ""), ""),
        ("undelivered/", *_objects(channel.undelivered, now), ""),
        ("failed/", *_objects(channel.failed, now), ""),
    ]
    for name, count, newest, more in rows:
        yield f"  {name:<13}{count:<22}{newest:<26}{more}".rstrip()
        if name == "rejected":
            note = " (in the newest objects)" if channel.reasons_sampled else ""
            for each in channel.reasons:
                where = f" at {each.path}" if each.path else ""
                yield f"  {'':<13}{cli.counted(each.count, 'time')}: {each.reason}{where}{note}"
    fields = ", ".join(channel.readings.unknown_fields) if channel.readings else ""
    yield f"  unknown fields: {fields or 'none'}"


def _objects(objects: HopObjects, now: datetime) -> tuple[str, str]:
    newest = objects.newest
    age = "" if newest is None else f"newest {duration((now - newest).total_seconds())} ago"
    return counted(objects.count, "object"), age


def _queue(queue: Queue, state: str) -> tuple[str, str]:
    age = "" if queue.oldest_seconds is None else f"oldest {duration(queue.oldest_seconds)} old"
    return f"{cli.counted(queue.events, 'event')} {state}".rstrip(), age


def _trigger(channel: Channel) -> str:
    state = channel.trigger_state
    return "" if state in {None, "Enabled"} else f"event source mapping: {state}"


def _parsed(channel: Channel) -> str:
    return _readings(channel.readings.parsed) if channel.readings else ""


def _rejected(channel: Channel) -> str:
    if channel.readings is None or channel.readings.rejected_percent is None:
        return ""
    share = f"{channel.readings.rejected_percent:.1f} %"
    return f"{_readings(channel.readings.rejected)}, {share}"


def _readings(count: Count) -> str:
    return counted(count, "reading")


def _rebuild(rebuild: Rebuild | None, now: datetime) -> str:
    if rebuild is None:
        return "not rebuilt yet"
    moment = rebuild.ended or rebuild.started
    hours = ""
    if rebuild.hours is not None:
        hours = f", {cli.counted(rebuild.hours, 'hour')}, {rebuild.hours_failed:,} failed"
    age = duration((now - moment).total_seconds())
    return f"last rebuild {rebuild.status} {age} ago ({cli.utc(moment)}){hours}"
