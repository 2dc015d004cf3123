"""What a person probably meant: names that the contract lacks, and numbers in another unit."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from contracts import Schema, integer_range
from contracts.reading import unknown_names

# A device may send any number of names; only this many are counted.
_MOST_NAMES = 100

_NESTED = {"object", "array"}
_SCALES = {"ms": (1000, "seconds"), "s": (1 / 1000, "milliseconds")}


class UnknownFieldCounter:
    """Counts the names of readings that the contract does not have, and warns of each once.

    Args:
        schema: Of a reading.
        warn: Called with a sentence for each new name.

    Attributes:
        counts: How many readings had each name; nested ones as ``outer.inner``.
    """

    def __init__(self, schema: Schema, warn: Callable[[str], None] | None = None) -> None:
        self._schema = schema
        self._names = {field.name for field in schema.fields}
        self._is_flat = all(field.schema.kind not in _NESTED for field in schema.fields)
        self._warn = warn
        self.counts: Counter[str] = Counter()

    def note(self, value: object) -> None:
        """Count the unknown names in a reading, or in an array of readings."""
        if self._is_flat and isinstance(value, dict) and value.keys() <= self._names:
            return
        for reading in value if isinstance(value, list) else [value]:
            for name in set(unknown_names(self._schema, reading)):
                if name not in self.counts:
                    if len(self.counts) >= _MOST_NAMES:
                        continue
                    if self._warn is not None:
                        self._warn(
                            f"the contract has no field {json.dumps(name)}; "
                            "its values are kept in the raw data only"
                        )
                self.counts[name] += 1


def similar_name(missing: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that may stand for ``missing``: ``Timestamp``, ``temp_c``."""
    plain = {_plain(name): name for name in names}
    wanted = _plain(missing)
    for candidate, name in plain.items():
        if candidate == wanted:
            return name
    close = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.75)
    if close:
        return plain[close[0]]
    within = (
        name
        for candidate, name in plain.items()
        if len(candidate) > 2 and (candidate.startswith(wanted) or wanted.startswith(candidate))
    )
    return next(within, None)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def other_unit(schema: Schema, value: Any) -> str | None:
    """Return the unit that a timestamp outside its range is probably in."""
    if schema.timestamp is None or not isinstance(value, int) or isinstance(value, bool):
        return None
    scale, unit = _SCALES[schema.timestamp]
    lowest, highest = integer_range(schema)
    # For every contract: without a minimum, nearly every moment since 1970 is plausible.
    return unit if max(lowest, 1) <= value * scale <= highest else None
