"""Show a message's hops: as text for people, as JSON for programs. Pure."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ops import times
from ops.tables import printable
from ops.trace.hops import Hop

_MOST_DETAILS = 20
_NAMES = ("thing_name", "customer", "topic", "client_id", "certificate_id", "trace_id")


def record(hops: Sequence[Hop]) -> dict[str, Any]:
    """The hops for ``--format json``; ``seconds`` count from the message's arrival."""
    return {
        "hops": [
            {
                "hop": hop.name,
                "time": None if hop.time is None else times.milliseconds(hop.time),
                "seconds": _seconds(hops, hop),
                "what": hop.what,
                "details": [times.shown(detail) for detail in hop.details],
            }
            for hop in hops
        ]
    }


def text(hops: Sequence[Hop]) -> str:
    """The hops for people; no value of a device can control the terminal."""
    return "\n".join(printable(line) for hop in hops for line in _lines(hops, hop))


def _lines(hops: Sequence[Hop], hop: Hop) -> Iterator[str]:
    seconds = _seconds(hops, hop)
    when = "" if hop.time is None else times.milliseconds(hop.time)
    after = "" if seconds is None or hop is hops[0] else f"+{seconds:,.1f} s"
    yield f"{hop.name:<9} {when:<24} {after:>10}  {hop.what}".rstrip()
    for detail in hop.details[:_MOST_DETAILS]:
        if hop.name == "message":
            for name in _NAMES:
                if detail.get(name) is not None:
                    yield f"{'':<9}   {name}: {detail[name]}"
            yield f"{'':<9}   readings: {detail['readings']}"
        elif hop.name == "rejected":
            index = detail["reading_index"]
            which = "message" if index is None else f"reading {index}"
            where = f" at {detail['path']}" if detail["path"] else ""
            yield f"{'':<9}   {which}: {detail['reason']}{where}"
        else:
            yield f"{'':<9}   {json.dumps(times.shown(detail), ensure_ascii=False)}"
    if len(hop.details) > _MOST_DETAILS:
        yield f"{'':<9}   and {len(hop.details) - _MOST_DETAILS:,} more; --format json has all"


def _seconds(hops: Sequence[Hop], hop: Hop) -> float | None:
    start = hops[0].time
    if start is None or hop.time is None:
        return None
    seconds = (hop.time - start).total_seconds()
    # S3 tells whole seconds, so an object may seem to be up to a second older than it is.
    return 0.0 if -1 < seconds < 0 else round(seconds, 3)
