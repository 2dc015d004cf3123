"""Report invalid readings: print the first few of each kind, and then only count them."""

import re
from collections import Counter
from collections.abc import Callable

_SHOWN_PER_KIND = 3
_MOST_SHOWN = 20
_MOST_KINDS = 1000

# Where in an array or a text the same fault was found.
_PLACE = re.compile(r"(?<=\[)\d+(?=\])| \(byte \d+\)")


class Complaints:
    """Prints why readings cannot be sent.

    Args:
        say: Called with one line at a time.
        noun: What is numbered: ``line``, ``message`` or ``reading``.
    """

    def __init__(self, say: Callable[[str], None], noun: str) -> None:
        self._say = say
        self._noun = noun
        self._kinds: Counter[str] = Counter()
        self._shown = 0

    def add(self, number: int, reason: str) -> None:
        """Count one, and print it if few of its kind were printed before."""
        kind = _PLACE.sub("", reason.partition(", got ")[0])
        if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            kind = "other reasons"
        self._kinds[kind] += 1
        if self._kinds[kind] <= _SHOWN_PER_KIND and self._shown < _MOST_SHOWN:
            self._shown += 1
            self._say(f"{self._noun} {number}: {reason}")

    def finish(self) -> None:
        """Print the number of each kind of which not all were printed."""
        if self._kinds.total() == self._shown:
            return
        self._say(f"invalid {self._noun}s by reason:")
        for kind, count in self._kinds.most_common(_MOST_SHOWN):
            self._say(f"{count:>9,}  {kind}")
        if (others := len(self._kinds) - _MOST_SHOWN) > 0:
            self._say(f"{'':>9}  and {others:,} more reasons")
