"""Which things fell silent, and which are back: judged from when their messages arrived.

Pure: no clock, environment, network or AWS SDK. Times are milliseconds since the Unix epoch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

# Twice its interval, so that one message that is lost or late is no silence.
_INTERVALS = 2
# The way of a message into the lake: batch, queue, parser.
_DELIVERY_MS = 10 * 60_000
# A thing that was away for so long is forgotten.
_FORGET_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When messages of a thing arrived, within the hours that were read.

    Attributes:
        first: The earliest.
        newest: The latest.
        count: How many different times there were.
    """

    first: int
    newest: int
    count: int


@dataclass(frozen=True, slots=True)
class Thing:
    """What is kept of a thing.

    Attributes:
        newest: When its newest message arrived.
        gap: Between its newest messages.
        earlier_gap: Between the ones before.
        silent: It was reported as silent, and not as back.
    """

    newest: int
    gap: int = 0
    earlier_gap: int = 0
    silent: bool = False

    @property
    def own_interval(self) -> int:
        """How often it usually reports: one long gap alone is an outage, not a slow thing."""
        return min(self.gap, self.earlier_gap)

    def after(self, arrivals: Arrivals) -> "Thing":
        """The thing once these arrivals are known."""
        if arrivals.newest <= self.newest:
            return self
        gap = (
            (arrivals.newest - arrivals.first) // (arrivals.count - 1)
            if arrivals.count > 1
            else arrivals.newest - self.newest
        )
        return replace(self, newest=arrivals.newest, gap=gap, earlier_gap=self.gap)


class WatchState(msgspec.Struct, frozen=True):
    """What one run leaves for the next, as JSON.

    Attributes:
        until: The time of the run.
        things: By name.
    """

    until: int
    things: dict[str, Thing]


@dataclass(frozen=True, slots=True)
class SilenceChange:
    """What a run found.

    Attributes:
        state: For the next run.
        silent: Things that fell silent, with the time of their newest message, sorted by name.
        back: Things that were silent and report again, likewise.
    """

    state: WatchState
    silent: Mapping[str, int]
    back: Mapping[str, int]


def judge(
    state: WatchState | None, arrivals: Iterable[tuple[str, Arrivals]], *, now: int, expected: int
) -> SilenceChange:
    """Say who fell silent since ``state``, and who is back.

    A thing is silent if its newest message is older than twice the expected interval, or twice
    its own if that is longer, and the time of delivery.

    Args:
        state: Of the run before; None on the first run.
        arrivals: By the name of the thing, since the run before.
        now: When this run is.
        expected: The contract's interval, in milliseconds.
    """
    things = {} if state is None else dict(state.things)
    for name, seen in arrivals:
        things[name] = things.get(name, Thing(0)).after(seen)
    silent: dict[str, int] = {}
    back: dict[str, int] = {}
    for name, thing in sorted(things.items()):
        if now - thing.newest > _FORGET_MS:
            del things[name]
            continue
        limit = _INTERVALS * max(expected, thing.own_interval) + _DELIVERY_MS
        is_silent = now - thing.newest > limit
        if is_silent != thing.silent:
            (silent if is_silent else back)[name] = thing.newest
            things[name] = replace(thing, silent=is_silent)
    return SilenceChange(WatchState(now, things), silent, back)
