"""Hypothesis strategies for contracts of the whole subset."""

from typing import Any

from hypothesis import strategies as st

from contracts import DIALECT, INT64_MAX, INT64_MIN
from contracts.tables import RESERVED_COLUMNS, RESERVED_WORDS

field_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name.lower() not in RESERVED_COLUMNS | RESERVED_WORDS
)
_int64 = st.integers(INT64_MIN, INT64_MAX)
_floats = st.floats(allow_nan=False, allow_infinity=False)


def _described(schemas: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    notes = st.fixed_dictionaries(
        {},
        optional={
            "description": st.text(max_size=20),
            "examples": st.lists(st.text(max_size=3) | st.integers(), max_size=2),
            "x-unit": st.just("Cel"),
        },
    )
    return st.builds(lambda schema, note: {**schema, **note}, schemas, notes)


def _nullable(schemas: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def make(schema: dict[str, Any]) -> dict[str, Any]:
        enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        return {**schema, "type": [schema["type"], "null"], **enum}

    return schemas | schemas.map(make)


def _numeric(kind: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def bounded(low: Any, high: Any) -> dict[str, Any]:
        low, high = sorted((low, high))
        return {"type": kind, "minimum": low, "maximum": high}

    return st.one_of(
        st.just({"type": kind}),
        st.builds(bounded, values, values),
        st.builds(lambda low: {"type": kind, "exclusiveMinimum": low}, values),
        st.lists(values, min_size=1, max_size=4, unique=True).map(
            lambda enum: {"type": kind, "enum": enum}
        ),
    )


_strings = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 5),
        st.integers(0, 20),
    ),
    st.just({"type": "string", "pattern": "^[a-z]+$"}),
    st.just({"type": "string", "format": "date-time"}),
    st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True).map(
        lambda enum: {"type": "string", "enum": enum}
    ),
)
_timestamps = st.sampled_from(["ms", "s"]).map(
    lambda unit: {"type": "integer", "x-timestamp": unit}
)
_scalars = st.one_of(
    _strings,
    _numeric("integer", _int64),
    _numeric("number", _floats),
    st.just({"type": "boolean"}),
    _timestamps,
)


def _object(properties: dict[str, Any], required: frozenset[int]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for name, schema in properties.items():
        if name.lower() not in {other.lower() for other in unique}:
            unique[name] = schema
    chosen = [name for index, name in enumerate(unique) if index in required]
    return {"type": "object", "properties": unique, **({"required": chosen} if chosen else {})}


def _objects(schemas: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        _object,
        st.dictionaries(field_names, schemas, min_size=1, max_size=most),
        st.frozensets(st.integers(0, most)),
    )


_schemas = st.recursive(
    _described(_nullable(_scalars)),
    lambda inner: _described(
        _nullable(_objects(inner, 3) | inner.map(lambda items: {"type": "array", "items": items}))
    ),
    max_leaves=5,
)

# The JSON Schema documents of readings.
documents = _objects(_schemas, 6).map(lambda schema: {"$schema": DIALECT, **schema})
