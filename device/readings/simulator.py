"""Make up readings that a contract allows and that look like a device's, for trials and tests.

Pure: the same contract, seed and clock give the same readings.
"""

import math
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from contracts import (
    INT64_MAX,
    INT64_MIN,
    Contract,
    Scalar,
    Schema,
    integer_range,
)
from contracts.patterns import to_python

# Where a walk starts, by unit: what a sensor on a desk would say.
_TYPICAL = {"Cel": 21.0, "K": 294.0, "hPa": 1013.0, "V": 3.7}

# A walk's width where the contract gives no bound, or only one.
_WIDTH = 100

# Tried in turn for a string, after the contract's examples: the shapes that patterns of devices
# ask for. Repeated fillers stand for any text of the right length.
_SHAPES = (
    *("simulated", "1.0.0", "v1.0.0", "1.0", "a", "A", "0", "1", "A1", "a1", "A-1", "AA-01", "a-1"),
    *("00:00:5e:00:53:01", "00:00:5E:00:53:01", "00000000-0000-4000-8000-000000000000"),
    *(
        "192.0.2.1",
        "device@example.com",
        "https://example.com/",
        "2000-01-01",
        "12:00",
        "+15550100",
    ),
)
_FILLERS = "aA01x"
_LONGEST_FILLER = 256


class SimulatorError(ValueError):
    """The contract requires a value that the simulator cannot make up, at a path that it names."""


class Simulator:
    """Makes one reading after the other.

    Numbers wander within their bounds; an integer that counts from 0 counts; an enumeration is
    mostly its first value; a timestamp is now; what may be null sometimes is.

    Args:
        contract: Contract of every reading.
        seed: Of the randomness.
        clock: The time, in seconds since the Unix epoch.
    """

    def __init__(self, contract: Contract, *, seed: int, clock: Callable[[], float]) -> None:
        self._schema = contract.schema
        self._random = random.Random(seed)  # noqa: S311  # plausible, not secret
        self._clock = clock
        self._last: dict[str, float] = {}

    def reading(self) -> dict[str, Any]:
        """Return the next reading.

        Raises:
            SimulatorError: The contract requires a value that it cannot make up.
        """
        return self._object("$", self._schema)

    def _object(self, path: str, schema: Schema) -> dict[str, Any]:
        reading = {}
        for field in schema.fields:
            try:
                reading[field.name] = self._value(f"{path}.{field.name}", field.schema)
            except SimulatorError:
                if field.required:
                    raise
        return reading

    def _value(self, path: str, schema: Schema) -> Any:
        if schema.enum is not None:
            return self._choice(path, schema, schema.enum)
        if schema.nullable and self._random.random() < 0.02:
            return None
        make = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": self._boolean,
        }[schema.kind]
        try:
            return make(path, schema)
        except SimulatorError:
            if schema.nullable:
                return None
            raise

    def _boolean(self, _path: str, _schema: Schema) -> bool:
        return self._random.random() < 0.05

    def _choice(self, path: str, schema: Schema, values: tuple[Scalar, ...]) -> Scalar:
        allowed = [value for value in values if _allows(schema, value)]
        if not allowed:
            raise SimulatorError(f"{path}: no value of the enum keeps to the other limits")
        return allowed[0] if self._random.random() < 0.97 else self._random.choice(allowed)

    def _array(self, path: str, schema: Schema) -> list[Any]:
        assert schema.items is not None  # noqa: S101  # an array's schema always has them
        try:
            count = self._random.randint(1, 3)
            return [self._value(f"{path}[]", schema.items) for _ in range(count)]
        except SimulatorError:
            return []

    def _string(self, path: str, schema: Schema) -> str:
        if schema.date_time:
            now = datetime.fromtimestamp(self._clock(), UTC)
            return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shortest = schema.min_length or 0
        longest = _LONGEST_FILLER if schema.max_length is None else schema.max_length
        lengths = range(shortest, min(longest, shortest + _LONGEST_FILLER) + 1)
        fillers = (filler * length for length in lengths for filler in _FILLERS)
        examples = [example for example in schema.examples if isinstance(example, str)]
        for candidate in (*examples, *_SHAPES, *fillers):
            if _allows(schema, candidate):
                return candidate
        raise SimulatorError(f"{path}: cannot make up a string for pattern {schema.pattern}")

    def _integer(self, path: str, schema: Schema) -> int:
        lowest, highest = integer_range(schema)
        if lowest > highest:
            raise SimulatorError(f"{path}: no integer is within its bounds")
        if schema.timestamp is not None:
            now = int(self._clock() * (1000 if schema.timestamp == "ms" else 1))
            return min(max(now, lowest), highest)
        if lowest == 0 and schema.maximum is None and schema.exclusive_maximum is None:
            count = int(self._last.get(path, -1)) + 1
            self._last[path] = count
            return count
        low, high = _narrowed(lowest, highest, schema, INT64_MIN, INT64_MAX)
        return min(max(round(self._walk(path, low, high, schema.unit)), lowest), highest)

    def _number(self, path: str, schema: Schema) -> int | float:
        try:
            lowest, highest = _number_bounds(schema)
        except OverflowError:
            raise SimulatorError(f"{path}: a bound is not a 64-bit number") from None
        if lowest > highest or highest == -math.inf or lowest == math.inf:
            raise SimulatorError(f"{path}: no number is within its bounds")
        low, high = _narrowed(lowest, highest, schema, -math.inf, math.inf)
        value = self._walk(path, low, high, schema.unit)
        rounded = round(value, 2)
        return rounded if lowest <= rounded <= highest else min(max(value, lowest), highest)

    def _walk(self, path: str, low: float, high: float, unit: str | None) -> float:
        """Return the next value of a random walk, which is drawn towards the centre."""
        width = high / 2 - low / 2  # halves: the whole may be more than a float holds
        typical = _TYPICAL.get(unit or "", math.nan)
        centre = typical if low < typical < high else low + width
        last = self._last.get(path)
        if last is None:
            value = centre + self._random.uniform(-0.05, 0.05) * width
        else:
            value = last + self._random.gauss(0, 0.003) * width + 0.02 * (centre - last)
        self._last[path] = value = min(max(value, low), high)
        return value


def _allows(schema: Schema, value: Scalar) -> bool:
    """Whether ``value``, which is of the schema's type, is within the schema's limits."""
    if value is None:
        return True
    if isinstance(value, str):
        return (
            (schema.min_length is None or len(value) >= schema.min_length)
            and (schema.max_length is None or len(value) <= schema.max_length)
            and (schema.pattern is None or re.search(to_python(schema.pattern), value) is not None)
        )
    if isinstance(value, bool):
        return True
    if schema.kind == "integer":
        lowest, highest = integer_range(schema)
        return lowest <= value <= highest
    return (
        (schema.minimum is None or value >= schema.minimum)
        and (schema.maximum is None or value <= schema.maximum)
        and (schema.exclusive_minimum is None or value > schema.exclusive_minimum)
        and (schema.exclusive_maximum is None or value < schema.exclusive_maximum)
    )


def _number_bounds(schema: Schema) -> tuple[float, float]:
    """The least and the greatest float allowed; infinite where there is no bound."""
    lowest, highest = -math.inf, math.inf
    if schema.minimum is not None:
        lowest = _float_at_least(schema.minimum)
    if schema.exclusive_minimum is not None:
        above = _float_at_least(schema.exclusive_minimum)
        if above <= schema.exclusive_minimum:
            above = math.nextafter(above, math.inf)
        lowest = max(lowest, above)
    if schema.maximum is not None:
        highest = -_float_at_least(-schema.maximum)
    if schema.exclusive_maximum is not None:
        below = -_float_at_least(-schema.exclusive_maximum)
        if below >= schema.exclusive_maximum:
            below = math.nextafter(below, -math.inf)
        highest = min(highest, below)
    return lowest, highest


def _float_at_least(bound: float) -> float:
    """The least float that is not below ``bound``, which may be an integer no float equals."""
    value = float(bound)
    return value if value >= bound else math.nextafter(value, math.inf)


def _narrowed(
    lowest: float, highest: float, schema: Schema, least: float, greatest: float
) -> tuple[float, float]:
    """Finite bounds of a walk: a side that the contract leaves open is ``_WIDTH`` away."""
    open_below = schema.minimum is None and schema.exclusive_minimum is None
    open_above = schema.maximum is None and schema.exclusive_maximum is None
    if open_below and open_above:
        return max(0.0, least), min(float(_WIDTH), greatest)
    if open_below:
        return max(highest - _WIDTH, least), highest
    if open_above:
        return lowest, min(lowest + _WIDTH, greatest)
    return lowest, highest
