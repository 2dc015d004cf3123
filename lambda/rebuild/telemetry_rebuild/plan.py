"""Divide an hour's readings into parts that are small enough to be sorted one by one.

Pure: values in, values out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from contracts import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN

# DuckDB writes what exceeds its memory to disk, and enforces no limit there. The rows of one sort
# take about 100 bytes each, and about what their payloads take.
_MOST_ROWS = 40_000_000
_MOST_PAYLOAD_BYTES = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class SortGroup:
    """The readings of one thing on one day, or those of some of its time.

    Attributes:
        day: UTC day, counted from 1970-01-01.
        start_ms: The earliest own time that belongs to the group.
        end_ms: The latest.
    """

    day: int
    thing_name: str
    rows: int
    start_ms: int = TIMESTAMP_MS_MIN
    end_ms: int = TIMESTAMP_MS_MAX


# Groups that are sorted together, in the order of day, thing and time.
Part = tuple[SortGroup, ...]


def most_rows(rows: int, payload_bytes: int) -> int:
    """How many of an hour's ``rows`` one sort may take, given the size of all payloads."""
    share = rows * _MOST_PAYLOAD_BYTES // max(payload_bytes, 1)
    return max(1, min(_MOST_ROWS, share))


def parts(groups: Iterable[SortGroup], limit: int) -> Iterator[Part]:
    """Put neighbouring groups together, as long as they have at most ``limit`` rows.

    A larger group is a part of its own.
    """
    taken: list[SortGroup] = []
    rows = 0
    for group in groups:
        if taken and rows + group.rows > limit:
            yield tuple(taken)
            taken, rows = [], 0
        taken.append(group)
        rows += group.rows
    if taken:
        yield tuple(taken)


def divided(group: SortGroup, counts: Iterable[tuple[int, int]], limit: int) -> Iterator[SortGroup]:
    """Divide a group by time into groups of at most ``limit`` rows where that is possible.

    Readings of the same time stay together, as they may be repetitions.

    Args:
        group: Has more rows than ``limit``.
        counts: Each own time in milliseconds with its number of rows, in order.
        limit: Rows of a part.
    """
    taken: list[int] = []
    rows = 0
    for time, count in counts:
        if taken and rows + count > limit:
            yield replace(group, rows=rows, start_ms=taken[0], end_ms=taken[-1])
            taken, rows = [], 0
        taken = [*taken[:1], time]
        rows += count
    yield replace(group, rows=rows, start_ms=taken[0], end_ms=taken[-1])
