"""Find one message in the raw bucket: by its place, by its trace id, or by a thing and a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import raw_lines, raw_objects
from ops.raw_objects import DamagedObject, RawObject

# How far from the given time a thing's message may be.
NEAR = timedelta(minutes=5)

_Open = Callable[[RawObject], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is.

    Attributes:
        line: Number of the line, from 1.
        content: The line.
    """

    found: RawObject
    line: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Search:
    """How a search ended.

    Attributes:
        place: Where the message is; None if it was not found.
        objects: Raw objects that were read.
        capped: The search stopped at its limit, before the end of the time.
        damaged: Keys of objects that could not be read to their end.
    """

    place: Place | None
    objects: int
    capped: bool = False
    damaged: tuple[str, ...] = ()


def at(found: RawObject, number: int, open_: _Open) -> Place | None:
    """The message at a line of an object; None if it has no such line.

    Raises:
        DamagedObject: The object cannot be read as far as that line.
    """
    for at_line, content in enumerate(raw_objects.lines(open_(found)), 1):
        if at_line == number:
            return Place(found, number, content)
    return None


def by_trace_id(
    candidates: Iterable[RawObject],
    trace_id: str,
    open_: _Open,
    *,
    most: int,
    show: Callable[[int], None],
) -> Search:
    """The first message with AWS IoT's ``trace_id``.

    Args:
        candidates: Raw objects to search, in order.
        trace_id: As in the envelope.
        open_: Opens an object.
        most: Objects that are read.
        show: Called with the number of objects that were read.
    """
    encoded = trace_id.encode()

    def distance(line: bytes) -> float | None:
        # Few lines contain it, so few are decoded.
        if encoded not in line or _envelope(line).get("trace_id") != trace_id:
            return None
        return 0.0

    return _search(candidates, distance, open_, most, show)


def by_thing(
    candidates: Iterable[RawObject],
    thing: str,
    moment: datetime,
    open_: _Open,
    *,
    most: int,
    show: Callable[[int], None],
) -> Search:
    """The message of ``thing`` that arrived nearest to ``moment``, at most ``NEAR`` from it.

    The other arguments are those of ``by_trace_id``.
    """
    encoded = f"/{thing}/".encode()

    def distance(line: bytes) -> float | None:
        if encoded not in line:
            return None
        envelope = _envelope(line)
        arrived = arrived_at(envelope)
        if arrived is None or raw_lines.thing_of(envelope.get("topic")) != thing:
            return None
        seconds = abs((arrived - moment).total_seconds())
        return seconds if seconds <= NEAR.total_seconds() else None

    return _search(candidates, distance, open_, most, show)


def _search(
    candidates: Iterable[RawObject],
    distance: Callable[[bytes], float | None],
    open_: _Open,
    most: int,
    show: Callable[[int], None],
) -> Search:
    """Find the line of the smallest distance; a distance of 0 ends the search."""
    best: tuple[float, Place] | None = None
    damaged: list[str] = []
    objects = 0
    for found in candidates:
        if objects == most:
            return Search(best and best[1], objects, True, tuple(damaged))
        objects += 1
        show(objects)
        try:
            for number, line in enumerate(raw_objects.lines(open_(found)), 1):
                far = distance(line)
                if far is not None and (best is None or far < best[0]):
                    best = far, Place(found, number, line)
                    if far == 0:
                        return Search(best[1], objects, False, tuple(damaged))
        except DamagedObject:
            damaged.append(found.key)
    return Search(best and best[1], objects, False, tuple(damaged))


def _envelope(line: bytes) -> dict[str, Any]:
    return raw_lines.decode_envelope(line) or {}


def arrived_at(envelope: dict[str, Any]) -> datetime | None:
    """When AWS IoT received the message; None if the line does not say."""
    received_at = envelope.get("received_at")
    try:
        return datetime.fromtimestamp(received_at / 1000, UTC)  # type: ignore[operator]  # caught
    except (TypeError, ValueError, OverflowError, OSError):
        return None
