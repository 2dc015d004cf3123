"""Propose a contract that every reading of a sample fits.

Pure: readings in, a JSON Schema document out. genson, the maintained library for this, infers types
and required fields only; ranges, enumerations, times, cells of CSV and the contract's subset of
JSON Schema would all have to be added to it, which is all that is here.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from contracts import DIALECT, INT64_MAX, INT64_MIN
from contracts.reader import FIELD_NAME
from contracts.reading import is_date_time
from contracts.tables import RESERVED_COLUMNS, RESERVED_WORDS
from device.readings import cells as csv_cells
from device.readings import times

# A string with few values that recur is an enumeration.
_MOST_ENUM_VALUES = 10
_ENUM_RECURRENCE = 10
_MOST_ENUM_CHARACTERS = 32
# Deeper or wider readings are possible, but no table for them.
_MOST_DEPTH = 10
_MOST_FIELDS = 500

# An integer is a time if its name says so and all its values are within the years 2001 to 2099.
_TIME_NAME = re.compile(r"time|date|stamp|epoch|(^|_)ts(_|$)|_at$", re.IGNORECASE)
_TIMES = {"ms": (978_307_200_000, 4_102_444_800_000), "s": (978_307_200, 4_102_444_800)}


class Unclear(ValueError):  # noqa: N818  # reads as what happened
    """No type of a contract fits all values of a field; the message says why."""


class Cells:
    """Reads cells of CSV, as ``device.readings.cells`` reads them once there is a contract.

    Attributes:
        need_time_zone: Whether a time without an offset was seen.
    """

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self.need_time_zone = False

    def value(self, cell: str) -> Any:
        """The boolean or number in a cell; otherwise the cell."""
        value = csv_cells.boolean(cell)
        if isinstance(value, bool) or _kind(value) == "integer":
            return value
        return value if isinstance(value, float) and math.isfinite(value) else cell

    def is_time(self, cell: str) -> bool:
        """Whether the cell is a time."""
        try:
            return times.rfc_3339(cell, self._zone) is not None
        except times.TimeError:
            self.need_time_zone = self.need_time_zone or self._zone is None
            return True


@dataclass
class FieldValues:
    """What is known of the values of one field.

    Attributes:
        kinds: How many values there are of each kind of JSON, ``null`` among them.
        lowest: Of numbers; likewise ``highest``.
        is_rising: Whether no number is below the one before it.
        texts: How often each text occurs, up to one more than an enumeration may have.
        longest: Length of the longest text.
        date_times: How many texts are times.
        are_cells: The values are cells of CSV: where their kinds differ, all are text.
        fields: Of objects.
        items: Of arrays.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    lowest: int | float = math.inf
    highest: int | float = -math.inf
    is_rising: bool = True
    texts: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    date_times: int = 0
    are_cells: bool = False
    fields: dict[str, "FieldValues"] = field(default_factory=dict)
    items: "FieldValues | None" = None

    def add(self, value: Any, cells: Cells | None = None, depth: int = 0) -> None:
        """Take in a value, as ``json.loads`` makes it.

        Args:
            value: The value.
            cells: Reads the texts, if they are cells of CSV.
            depth: Of the value in the reading.
        """
        if cells is not None and isinstance(value, str):
            self.are_cells = True
            self._add_text(value, is_date_time=cells.is_time(value))
            value = cells.value(value)
        elif isinstance(value, str):
            self._add_text(value, is_date_time=is_date_time(value))
        kind = _kind(value)
        self.kinds[kind] += 1
        if kind in {"integer", "number"}:
            self._add_number(value)
        elif depth == _MOST_DEPTH:
            return
        elif kind == "object":
            for name, inner in value.items():
                if name in self.fields or len(self.fields) < _MOST_FIELDS:
                    self.fields.setdefault(name, FieldValues()).add(inner, cells, depth + 1)
        elif kind == "array":
            self.items = self.items or FieldValues()
            for item in value:
                self.items.add(item, cells, depth + 1)

    def _add_number(self, value: float) -> None:
        self.is_rising = self.is_rising and value >= self.highest
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)

    def _add_text(self, text: str, *, is_date_time: bool) -> None:
        self.longest = max(self.longest, len(text))
        self.date_times += is_date_time
        if text in self.texts or len(self.texts) <= _MOST_ENUM_VALUES:
            self.texts[text] += 1

    @property
    def values(self) -> int:
        """How many values there are, without nulls."""
        return self.kinds.total() - self.kinds["null"]


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer" if INT64_MIN <= value <= INT64_MAX else "number"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def propose(sample: FieldValues, note: Callable[[str], None]) -> dict[str, Any]:
    """Return the JSON Schema document of a contract.

    Args:
        sample: Of whole readings.
        note: Called with a line of text for each field that is left out.

    Raises:
        Unclear: No field can be described.
    """
    return {"$schema": DIALECT, **_object("$", sample, note)}


def _object(path: str, sample: FieldValues, note: Callable[[str], None]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    columns: set[str] = set()
    for name, inner in sample.fields.items():
        place = f"{path}.{name}"
        try:
            _check_name(name, columns, is_column=path == "$")
            properties[name] = _schema(place, name, inner, note)
            columns.add(name.lower())
        except Unclear as reason:
            note(f"left out: {place}: {reason}")
    if not properties:
        raise Unclear("no field of it can be described")
    objects = sample.kinds["object"]
    required = [name for name in properties if sample.fields[name].kinds.total() == objects]
    return {
        "type": "object",
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _check_name(name: str, columns: set[str], *, is_column: bool) -> None:
    if not FIELD_NAME.fullmatch(name):
        raise Unclear("a name has letters, digits and '_' only, at most 128, and no digit first")
    if name.lower() in columns:
        raise Unclear("its name differs from another one only in case")
    if is_column and name.lower() in RESERVED_COLUMNS | RESERVED_WORDS:
        raise Unclear("the pipeline or SQL reserves its name")


def _schema(
    path: str, name: str, sample: FieldValues, note: Callable[[str], None]
) -> dict[str, Any]:
    kinds = set(sample.kinds) - {"null"}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1 and sample.are_cells:
        kinds = {"string"}
    if len(kinds) != 1:
        found = ", ".join(f"{count:,} x {kind}" for kind, count in sample.kinds.most_common())
        raise Unclear(f"expected values of one type, got {found}")
    (kind,) = kinds
    describe: Mapping[str, Callable[[], dict[str, Any]]] = {
        "object": lambda: _object(path, sample, note),
        "array": lambda: _array(path, name, sample, note),
        "string": lambda: _string(sample),
        "integer": lambda: _integer(name, sample),
        "number": lambda: {"type": "number", **_range(sample)},
        "boolean": lambda: {"type": "boolean"},
    }
    schema = describe[kind]()
    if sample.kinds["null"]:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"].append(None)
    return schema


def _array(
    path: str, name: str, sample: FieldValues, note: Callable[[str], None]
) -> dict[str, Any]:
    if sample.items is None or not sample.items.kinds:
        raise Unclear("every array is empty, or nested too deeply")
    return {"type": "array", "items": _schema(f"{path}[]", name, sample.items, note)}


def _string(sample: FieldValues) -> dict[str, Any]:
    if sample.date_times == sample.values:
        return {"type": "string", "format": "date-time"}
    texts = sample.texts
    if (
        2 <= len(texts) <= _MOST_ENUM_VALUES
        and sample.values >= _ENUM_RECURRENCE * len(texts)
        and sample.longest <= _MOST_ENUM_CHARACTERS
    ):
        return {"type": "string", "enum": sorted(texts)}
    schema: dict[str, Any] = {"type": "string", "maxLength": _rounded_up(2 * sample.longest or 1)}
    # The simulator sends them.
    examples = [text for text in texts if text and len(text) <= _MOST_ENUM_CHARACTERS][:3]
    return {**schema, "examples": examples} if examples else schema


def _integer(name: str, sample: FieldValues) -> dict[str, Any]:
    if _TIME_NAME.search(name):
        for unit, (first, last) in _TIMES.items():
            if first <= sample.lowest and sample.highest <= last:
                # An earlier time means a clock that was not set.
                return {"type": "integer", "x-timestamp": unit, "minimum": first}
    bounds = _range(sample)
    if sample.is_rising and sample.values > 1:
        bounds.pop("maximum", None)  # a counter goes on
    within = {name: x for name, x in bounds.items() if INT64_MIN <= x <= INT64_MAX}
    return {"type": "integer", **within}


def _range(sample: FieldValues) -> dict[str, Any]:
    """Bounds that leave room: twice as much as the sample has, rounded outwards; 0 stays 0."""
    low = 0 if sample.lowest >= 0 else -_rounded_up(-2 * sample.lowest)
    high = 0 if sample.highest <= 0 else _rounded_up(2 * sample.highest)
    bounds = {"minimum": low, "maximum": high}
    if sample.lowest == sample.highest:
        return {}  # one value tells nothing
    return {name: bound for name, bound in bounds.items() if math.isfinite(bound)}


def _is_double(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _rounded_up(value: float) -> int | float:
    """The next of 1, 2, 5, 10, 20, 50, …; for a value below 1 of 1, 0.5, 0.2, 0.1, …."""
    if not _is_double(value):
        return math.inf
    exponent = math.floor(math.log10(value))
    for step in (1, 2, 5, 10, 20):
        bound = step * 10**exponent if exponent >= 0 else step / 10**-exponent
        if bound >= value:
            return bound if _is_double(bound) else math.inf
    return math.inf
