"""contracts.changes: no change that may cost a device its readings passes as compatible."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from contracts import Contract, ContractError, parse
from contracts.changes import Change, ChangeKind, compare
from contracts.reading import ReadingChecker
from tests.unit.contracts.strategies import documents


def contract(**properties: Any) -> Contract:
    """A contract; a name that ends in ``_r`` is of a required field."""
    required = [name for name in properties if name.endswith("_r")]
    document = {"type": "object", "properties": properties, "required": required}
    return parse("test", json.dumps(document))


def changes(old: Any, new: Any) -> list[tuple[str, str, str]]:
    return [_shown(change) for change in compare(contract(f=old), contract(f=new))]


def _shown(change: Change) -> tuple[str, str, str]:
    mark = "ok" if change.is_compatible else "BAD"
    return f"{mark} {change.kind}", change.path, change.detail


NUMBER = {"type": "number", "minimum": 0, "maximum": 10}
STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("old", "new", "kind", "detail"),
    [
        (NUMBER, {**NUMBER, "minimum": 1}, "BAD narrowed", "minimum: 0 → 1"),
        (NUMBER, {**NUMBER, "minimum": -1}, "ok widened", "minimum: 0 → -1"),
        (NUMBER, {**NUMBER, "maximum": 9.5}, "BAD narrowed", "maximum: 10 → 9.5"),
        (NUMBER, {**NUMBER, "maximum": 11}, "ok widened", "maximum: 10 → 11"),
        (NUMBER, {**NUMBER, "exclusiveMaximum": 10}, "BAD narrowed", None),
        (
            NUMBER,
            {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
            "BAD narrowed",
            "minimum: 0 → 0 (exclusive)",
        ),
        ({"type": "number"}, {"type": "number", "maximum": 0}, "BAD narrowed", "maximum: none → 0"),
        ({"type": "integer"}, {"type": "integer", "minimum": 0}, "BAD narrowed", None),
        (
            {"type": "integer", "exclusiveMinimum": 0},
            {"type": "integer", "minimum": 1},
            None,
            None,
        ),
        (
            {"type": "integer", "x-timestamp": "ms"},
            {"type": "integer", "x-timestamp": "ms", "minimum": 5},
            "BAD narrowed",
            "minimum: none → 5",
        ),
        (STRING, {**STRING, "maxLength": 5}, "BAD narrowed", "maximum length: none → 5"),
        ({**STRING, "minLength": 2}, STRING, "ok widened", "minimum length: 2 → 0"),
        (STRING, {**STRING, "pattern": "^a"}, "BAD narrowed", 'pattern: none → "^a"'),
        ({**STRING, "pattern": "a"}, {**STRING, "pattern": "b"}, "BAD narrowed", None),
        ({**STRING, "pattern": "a"}, STRING, "ok widened", None),
        (STRING, {**STRING, "enum": ["a", "b"]}, "BAD narrowed", 'only "a", "b"'),
        ({**STRING, "enum": ["a"]}, STRING, "ok widened", None),
        (
            {**STRING, "enum": ["a", "b"]},
            {**STRING, "enum": ["b"]},
            "BAD narrowed",
            'no longer "a"',
        ),
        ({**STRING, "enum": ["a"]}, {**STRING, "enum": ["a", "b"]}, "ok widened", 'also "b"'),
        (STRING, {"type": ["string", "null"]}, "ok widened", "null is allowed"),
        ({"type": ["string", "null"]}, STRING, "BAD narrowed", "null is not allowed"),
        ({"type": "integer"}, {"type": "number"}, "BAD retyped", "integer → number"),
        (STRING, {**STRING, "format": "date-time"}, "BAD retyped", "string → date-time"),
        ({"type": "integer"}, {"type": "integer", "x-timestamp": "s"}, "BAD retyped", None),
        (
            {"type": "integer", "x-timestamp": "s"},
            {"type": "integer", "x-timestamp": "ms"},
            "BAD retyped",
            "timestamp (s) → timestamp (ms)",
        ),
        ({**NUMBER, "x-unit": "Cel"}, {**NUMBER, "x-unit": "K"}, "BAD unit", '"Cel" → "K"'),
        (NUMBER, {**NUMBER, "description": "words", "examples": [1]}, None, None),
    ],
)
def test_names_what_happened_to_a_field(
    old: Any, new: Any, kind: str | None, detail: str | None
) -> None:
    found = changes(old, new)
    assert [each[:2] for each in found] == ([] if kind is None else [(kind, "$.f")])
    assert detail is None or found[0][2] == detail


def test_a_field_can_become_narrower_and_wider_at_once() -> None:
    assert [each[0] for each in changes(NUMBER, {**NUMBER, "minimum": 1, "maximum": 11})] == [
        "BAD narrowed",
        "ok widened",
    ]


def test_fields_that_come_and_go() -> None:
    old = contract(a=STRING, b_r=NUMBER)
    new = contract(a=STRING, c={"type": "boolean"}, d_r={"type": "boolean"})
    assert list(map(_shown, compare(old, new))) == [
        ("ok added", "$.c", "boolean"),
        ("BAD new required", "$.d_r", "a new field: boolean"),
        ("BAD removed", "$.b_r", "number"),
    ]


def test_a_field_that_is_gone_and_one_like_it_that_is_new_are_one_that_was_renamed() -> None:
    old, new = contract(a=STRING, old=NUMBER), contract(a=STRING, new={**NUMBER, "title": "x"})
    assert list(map(_shown, compare(old, new))) == [("BAD renamed", "$.new", "from $.old")]


def test_fields_that_cannot_be_told_apart_are_not_taken_for_renamed() -> None:
    old, new = contract(a=NUMBER, b=NUMBER), contract(c=NUMBER)
    assert {change.kind for change in compare(old, new)} == {ChangeKind.ADDED, ChangeKind.REMOVED}


@pytest.mark.parametrize(("one", "other", "kind"), [("f", "f_r", "BAD"), ("f_r", "f", "ok")])
def test_a_field_that_becomes_required_is_incompatible(one: str, other: str, kind: str) -> None:
    def nested(required: bool) -> Contract:
        inner = {"type": "object", "properties": {"f": STRING}, "required": ["f"] * required}
        return contract(box={"type": "array", "items": inner})

    ((shown, path, _),) = map(_shown, compare(nested(one == "f_r"), nested(other == "f_r")))
    assert shown == f"{kind} {'new required' if kind == 'BAD' else 'optional'}"
    assert path == "$.box[].f"


def test_an_integer_that_becomes_a_number_costs_no_device_its_readings() -> None:
    (change,) = compare(contract(f={"type": "integer"}), contract(f={"type": "number"}))
    assert change.consequence.devices == "readings are accepted"


@given(documents)
def test_a_contract_does_not_differ_from_itself(document: dict[str, Any]) -> None:
    one = parse("test", json.dumps(document))
    assert compare(one, one) == []


_BOUNDS = st.integers(-3, 3)
_ENUMS = st.lists(_BOUNDS, min_size=1, max_size=4, unique=True)
# Narrow enough that values often are within both of two of them.
_SCHEMAS = st.one_of(
    st.builds(
        lambda kind, keywords: {"type": kind, **keywords},
        st.sampled_from(["integer", "number"]),
        st.fixed_dictionaries(
            {},
            optional={
                "minimum": _BOUNDS,
                "exclusiveMinimum": _BOUNDS,
                "maximum": _BOUNDS,
                "exclusiveMaximum": _BOUNDS,
                "enum": _ENUMS,
            },
        ),
    ),
    st.builds(
        lambda least, most: {"type": "string", "minLength": least, "maxLength": most},
        st.integers(0, 2),
        st.integers(2, 4),
    ),
    st.sampled_from(
        [
            {"type": "string", "enum": ["a", "bb"]},
            {"type": "string", "enum": ["bb"]},
            {"type": "string", "pattern": "^b"},
            {"type": "string"},
            {"type": ["string", "null"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ]
    ),
)
_VALUES: list[Any] = [*range(-4, 5), *(x + 0.5 for x in range(-4, 4)), "", "a", "bb", "ccccc", None]


def _in_object(schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"type": "object", "properties": {"f": schema}, "required": ["f"] * required}


@settings(max_examples=1000)
@given(_SCHEMAS, _SCHEMAS, st.booleans(), st.booleans(), st.booleans())
def test_what_fitted_before_fits_unless_a_change_is_incompatible(
    old: dict[str, Any],
    new: dict[str, Any],
    was_required: bool,
    is_required: bool,
    nested: bool,
) -> None:
    schemas = [_in_object(old, required=was_required), _in_object(new, required=is_required)]
    if nested:
        schemas = [_in_object({"type": "array", "items": each}, required=True) for each in schemas]
    try:
        before, after = (parse("test", json.dumps(each)) for each in schemas)
    except ContractError:  # a minimum above its maximum
        reject()
    if not all(change.is_compatible for change in compare(before, after)):
        return
    for inner in ({}, *({"f": value} for value in _VALUES)):
        reading = msgspec.json.encode({"f": [inner]} if nested else inner)
        if _fits(before, reading):
            assert _fits(after, reading), reading


def _fits(contract: Contract, reading: bytes) -> bool:
    try:
        ReadingChecker(contract).one.decode(reading)
    except msgspec.ValidationError:
        return False
    return True
