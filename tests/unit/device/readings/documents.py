"""Hypothesis strategies for contracts, within the subset that the loader takes."""

import json
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

import contracts
from contracts import Contract, ContractError

_PATTERNS = ["^[0-9]+$", "^[A-Z]{2}-\\d{2}$", "^v?\\d+\\.\\d+\\.\\d+$", "a", "^$", "^(?!x)x$"]
_SMALL = st.integers(-(10**6), 10**6)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def _bounds(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    keywords = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keywords, numbers))


def _optional(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keywords)


@st.composite
def _typed(
    draw: st.DrawFn, kind: str, keywords: st.SearchStrategy[dict[str, Any]]
) -> dict[str, Any]:
    node = draw(keywords)
    nullable = draw(st.booleans())
    if "enum" in node and nullable:
        node["enum"] = [*node["enum"], None]
    return {"type": [kind, "null"] if nullable else kind, **node}


def _enum(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=4, unique=True)


@st.composite
def _integer(draw: st.DrawFn) -> dict[str, Any]:
    wide = st.integers(contracts.INT64_MIN, contracts.INT64_MAX)
    numbers = draw(st.sampled_from([_SMALL, wide]))
    node = draw(_bounds(numbers))
    node |= draw(_optional(enum=_enum(numbers)))
    return node | draw(_optional(**{"x-timestamp": st.sampled_from(["ms", "s"])}))


@st.composite
def _number(draw: st.DrawFn) -> dict[str, Any]:
    numbers: st.SearchStrategy[Any] = draw(st.sampled_from([_SMALL, _FLOATS]))
    return draw(_bounds(numbers)) | draw(
        _optional(enum=_enum(numbers), **{"x-unit": st.sampled_from(["Cel", "hPa", "%"])})
    )


_STRINGS = st.one_of(
    st.just({"format": "date-time"}),
    _optional(enum=_enum(st.text(max_size=5))),
    _optional(
        minLength=st.integers(0, 300),
        maxLength=st.integers(0, 400),
        pattern=st.sampled_from(_PATTERNS),
    ),
)

_SCALARS = st.one_of(
    _typed("integer", _integer()),
    _typed("number", _number()),
    _typed("string", _STRINGS),
    _typed("boolean", _optional(enum=_enum(st.booleans()))),
)


@st.composite
def _object(draw: st.DrawFn, schemas: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    names = [f"field_{number}" for number in range(draw(st.integers(1, 5)))]
    return {
        "properties": {name: draw(schemas) for name in names},
        "required": [name for name in names if draw(st.booleans())],
    }


_SCHEMAS = st.recursive(
    _SCALARS,
    lambda schemas: st.one_of(
        _typed("object", _object(schemas)),
        _typed("array", st.fixed_dictionaries({"items": schemas})),
    ),
    max_leaves=6,
)


@st.composite
def any_contract(draw: st.DrawFn) -> Contract:
    """A contract with anything in it that the loader takes."""
    document = {"type": "object", **draw(_object(_SCHEMAS))}
    try:
        return contracts.parse("generated", json.dumps(document))
    except ContractError:  # its keywords are at odds with each other
        reject()
