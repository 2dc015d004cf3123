"""Hypothesis strategies for readings: those that fit a contract, and those that nearly do."""

import json
import math
from datetime import timedelta, timezone
from typing import Any

from hypothesis import strategies as st

import contracts
from contracts import (
    INT64_MAX,
    INT64_MIN,
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    Contract,
    Schema,
)
from contracts.patterns import to_python
from tests.unit.contracts.strategies import documents
from tests.unit.parser.oracle import instant

contract_models = documents.map(lambda document: contracts.parse("test", json.dumps(document)))

# What devices send by mistake, and what coercion would let through.
_WRONG: list[Any] = [
    *(None, True, False, 0, 1, -1, 12.0, 12.5, 1e300, -0.0, "", "12", "true", "\u2028", "é", "😀"),
    *(INT64_MAX, INT64_MAX + 1, INT64_MIN, INT64_MIN - 1, 10**30, [], [None], {}, {"a": 1}),
    *(TIMESTAMP_MS_MAX, TIMESTAMP_MS_MAX + 1, "2026-02-29T00:00:00Z", "2026-01-01T00:00:00"),
]

_DAY = timedelta(days=1) // timedelta(milliseconds=1)


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that fit ``schema``, mostly; its bounds may leave few or none."""
    fitting = _not_null(schema)
    return st.none() | fitting if schema.nullable else fitting


def _not_null(schema: Schema) -> st.SearchStrategy[Any]:
    if schema.enum is not None:
        return st.sampled_from([value for value in schema.enum if value is not None] or [0])
    if schema.kind == "object":
        required = {f.name: values(f.schema) for f in schema.fields if f.required}
        optional = {f.name: values(f.schema) for f in schema.fields if not f.required}
        return st.fixed_dictionaries(required, optional=optional)
    if schema.items is not None:
        return st.lists(values(schema.items), max_size=3)
    if schema.kind == "string":
        return _strings(schema)
    if schema.kind == "boolean":
        return st.booleans()
    return _numbers(schema)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    if schema.date_time:
        return st.builds(
            lambda ms, hours: instant(ms).astimezone(timezone(timedelta(hours=hours))).isoformat(),
            st.integers(TIMESTAMP_MS_MIN + _DAY, TIMESTAMP_MS_MAX - _DAY),
            st.integers(-12, 12),
        )
    if schema.pattern is not None:
        return st.from_regex(schema.pattern) | st.from_regex(to_python(schema.pattern))
    return st.text(min_size=schema.min_length or 0, max_size=schema.max_length)


def _numbers(schema: Schema) -> st.SearchStrategy[Any]:
    lows = [x for x in (schema.minimum, schema.exclusive_minimum) if x is not None]
    highs = [x for x in (schema.maximum, schema.exclusive_maximum) if x is not None]
    if schema.kind == "number":
        return st.floats(
            max(lows, default=None), min(highs, default=None), allow_nan=False, allow_infinity=False
        )
    if schema.timestamp is not None:
        scale = 1 if schema.timestamp == "ms" else 1000
        return st.integers(-(-TIMESTAMP_MS_MIN // scale), TIMESTAMP_MS_MAX // scale)
    return st.integers(
        max(INT64_MIN, math.ceil(max(lows, default=INT64_MIN))),
        min(INT64_MAX, math.floor(min(highs, default=INT64_MAX))),
    )


@st.composite
def readings(draw: st.DrawFn, contract: Contract) -> Any:
    """A reading; one in two has something changed, which may or may not still fit."""
    reading = draw(values(contract.schema))
    if draw(st.booleans()):
        reading = draw(_changed(reading))
    return reading


@st.composite
def _changed(draw: st.DrawFn, value: Any) -> Any:
    wrong = st.sampled_from(_WRONG)
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        if draw(st.booleans()):
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: draw(_changed(value[name]))}
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, draw(st.text(max_size=5).map(lambda s: "~" + s)): draw(wrong)}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [draw(_changed(value[0])), *value[1:]]
    return draw(wrong)


# One message's readings, and whether it is sent as an array and as gzip.
def messages(contract: Contract) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(st.lists(readings(contract), min_size=1, max_size=4), min_size=1, max_size=6)
