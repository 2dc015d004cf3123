"""Compare two versions of a contract, field by field. Standard library only.

A change is incompatible if a device that was not updated may lose readings to it, or if rows or
queries of before no longer fit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from contracts.schema import (
    INT64_MAX,
    INT64_MIN,
    Contract,
    Field,
    Schema,
    integer_range,
    timestamp_range,
)


class ChangeKind(StrEnum):
    """What may happen to a field."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    RETYPED = "retyped"
    NARROWED = "narrowed"
    WIDENED = "widened"
    NEW_REQUIRED = "new required"
    OPTIONAL = "optional"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one field.

    Attributes:
        path: Of the field in a reading, such as ``$.wind.speed``; ``[]`` is an array's items.
        kind: What happened.
        detail: What it was and what it is.
        consequence: What it means.
    """

    path: str
    kind: ChangeKind
    detail: str
    consequence: "Consequence"

    @property
    def is_compatible(self) -> bool:
        """Whether devices, rows and queries of before still fit."""
        return self.kind in _COMPATIBLE


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a change means.

    Attributes:
        stored_rows: For rows that were parsed before.
        devices: For devices that still use the contract of before.
        athena: For tables and queries.
    """

    stored_rows: str
    devices: str
    athena: str


_COMPATIBLE = {ChangeKind.ADDED, ChangeKind.WIDENED, ChangeKind.OPTIONAL}

_STAY = "they stay as they are"
_NO_CHANGE = "nothing changes"
# Parquet is read by name, and with the types of the table.
# https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html
_CONSEQUENCES = {
    ChangeKind.ADDED: Consequence(
        "the field is null; parsing the raw objects again fills it where devices sent it",
        _NO_CHANGE,
        "a new column, or a new field of a struct",
    ),
    ChangeKind.REMOVED: Consequence(
        "the files keep the values, and no query can name them; parsing again drops them",
        "readings are accepted; the field counts as unknown, and only raw keeps it",
        "the column is gone; queries that name it fail",
    ),
    ChangeKind.RENAMED: Consequence(
        "the field is null under its new name; parsing again does not fill it, as raw has the old",
        "the old name counts as unknown; if the field is required, their readings are rejected",
        "queries that use the old name fail",
    ),
    ChangeKind.RETYPED: Consequence(
        "the files keep the old type until they are parsed again",
        "readings with a value of the old type are rejected",
        "the column has the new type; queries over files of the old type fail or misread it",
    ),
    ChangeKind.NARROWED: Consequence(
        "they stay; parsing again rejects those that no longer fit",
        "readings that no longer fit are rejected",
        _NO_CHANGE,
    ),
    ChangeKind.WIDENED: Consequence(
        "they stay; parsing again accepts readings that were rejected", _NO_CHANGE, _NO_CHANGE
    ),
    ChangeKind.NEW_REQUIRED: Consequence(
        "they stay; parsing again rejects readings without the field",
        "readings without the field are rejected: update the devices before the deployment",
        _NO_CHANGE,
    ),
    ChangeKind.OPTIONAL: Consequence(_STAY, _NO_CHANGE, "the column may be null"),
    ChangeKind.UNIT: Consequence(
        "they keep values in the old unit",
        "readings are accepted, with values in the old unit",
        "one column has values in both units",
    ),
}


def compare(old: Contract, new: Contract) -> list[Change]:
    """Every change from ``old`` to ``new``, in the order of their paths in ``new``."""
    return list(_objects("$", old.schema, new.schema))


def _objects(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    before = {field.name: field for field in old.fields}
    after = {field.name: field for field in new.fields}
    renamed = _renamed(before, after)
    for field in new.fields:
        place = f"{path}.{field.name}"
        if field.name in before:
            yield from _fields(place, before[field.name], field)
        elif field.name in renamed:
            detail = f"from {path}.{renamed[field.name]}"
            yield _change(place, ChangeKind.RENAMED, detail)
            yield from _fields(place, before[renamed[field.name]], field)
        elif field.required:
            yield _change(place, ChangeKind.NEW_REQUIRED, f"a new field: {_type(field.schema)}")
        else:
            yield _change(place, ChangeKind.ADDED, _type(field.schema))
    for field in old.fields:
        if field.name not in after and field.name not in renamed.values():
            yield _change(f"{path}.{field.name}", ChangeKind.REMOVED, _type(field.schema))


def _renamed(before: Mapping[str, Field], after: Mapping[str, Field]) -> dict[str, str]:
    """New name to old name, where only one field that is gone is like one that is new."""
    gone = [field for name, field in before.items() if name not in after]
    come = [field for name, field in after.items() if name not in before]
    found = {}
    for field in come:
        same = [other for other in gone if _is_like(other, field)]
        others = [other for other in come if _is_like(other, field)]
        if len(same) == len(others) == 1:
            found[field.name] = same[0].name
    return found


def _is_like(one: Field, other: Field) -> bool:
    return one.column == other.column or _bare(one.schema) == _bare(other.schema)


def _bare(schema: Schema) -> Schema:
    """The schema without what only people read."""
    fields = tuple(
        Field(field.name, _bare(field.schema), field.required) for field in schema.fields
    )
    items = None if schema.items is None else _bare(schema.items)
    return replace(schema, description=None, examples=(), fields=fields, items=items)


def _fields(path: str, old: Field, new: Field) -> Iterator[Change]:
    if new.required and not old.required:
        yield _change(path, ChangeKind.NEW_REQUIRED, "optional → required")
    elif old.required and not new.required:
        yield _change(path, ChangeKind.OPTIONAL, "required → optional")
    yield from _schemas(path, old.schema, new.schema)


def _schemas(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    if _type(old) != _type(new):
        change = _change(path, ChangeKind.RETYPED, f"{_type(old)} → {_type(new)}")
        if (_type(old), _type(new)) == ("integer", "number"):
            accepted = replace(change.consequence, devices="readings are accepted")
            change = replace(change, consequence=accepted)
        yield change
        return
    if old.unit != new.unit:
        yield _change(path, ChangeKind.UNIT, f"{_shown(old.unit)} → {_shown(new.unit)}")
    if old.nullable != new.nullable:
        kind = ChangeKind.WIDENED if new.nullable else ChangeKind.NARROWED
        yield _change(path, kind, "null is allowed" if new.nullable else "null is not allowed")
    yield from _ranges(path, old, new)
    yield from _enums(path, old, new)
    if old.pattern != new.pattern:
        # Two patterns cannot be compared: any change but leaving it out may reject more.
        kind = ChangeKind.WIDENED if new.pattern is None else ChangeKind.NARROWED
        yield _change(path, kind, f"pattern: {_shown(old.pattern)} → {_shown(new.pattern)}")
    if old.kind == "object":
        yield from _objects(path, old, new)
    if old.items is not None and new.items is not None:
        yield from _schemas(f"{path}[]", old.items, new.items)


_DEFAULTS = ((INT64_MIN, INT64_MAX), timestamp_range("ms"), timestamp_range("s"))

# A bound, and 1 if the bound itself is not allowed. Upper bounds are negated: of two bounds, the
# greater one is always the narrower.
_Bound = tuple[float, int]
_NO_BOUND = float("inf")
# The bounds of a schema that states none.
_UNSET = {
    -_NO_BOUND,
    *(sign * bound for low, high in _DEFAULTS for sign, bound in ((1, low), (-1, high))),
}


def _ranges(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    for name, sign, bound in (
        ("minimum", 1, _lowest),
        ("maximum", -1, _highest),
        ("minimum length", 1, _least_length),
        ("maximum length", -1, _greatest_length),
    ):
        before, after = bound(old), bound(new)
        if before != after:
            kind = ChangeKind.NARROWED if after > before else ChangeKind.WIDENED
            detail = f"{name}: {_bound_text(before, sign)} → {_bound_text(after, sign)}"
            yield _change(path, kind, detail)


def _lowest(schema: Schema) -> _Bound:
    if schema.kind == "integer":
        return integer_range(schema)[0], 0
    return _narrowest((schema.minimum, 0), (schema.exclusive_minimum, 1), sign=1)


def _highest(schema: Schema) -> _Bound:
    if schema.kind == "integer":
        return -integer_range(schema)[1], 0
    return _narrowest((schema.maximum, 0), (schema.exclusive_maximum, 1), sign=-1)


def _least_length(schema: Schema) -> _Bound:
    return schema.min_length or 0, 0


def _greatest_length(schema: Schema) -> _Bound:
    return _narrowest((schema.max_length, 0), sign=-1)


def _narrowest(*bounds: tuple[float | None, int], sign: int) -> _Bound:
    known = [(sign * value, strict) for value, strict in bounds if value is not None]
    return max(known, default=(-_NO_BOUND, 0))


def _bound_text(bound: _Bound, sign: int) -> str:
    value, strict = bound
    if value in _UNSET:
        return "none"
    return f"{sign * value + 0}{' (exclusive)' if strict else ''}"  # + 0: not -0.0


def _enums(path: str, old: Schema, new: Schema) -> Iterator[Change]:
    if old.enum is None and new.enum is None:
        return
    if new.enum is None:
        yield _change(path, ChangeKind.WIDENED, "any value instead of an enumeration")
        return
    if old.enum is None:
        yield _change(path, ChangeKind.NARROWED, f"only {_listed(new.enum)}")
        return
    # Whether null is allowed is a change of its own.
    gone = [x for x in old.enum if x is not None and x not in new.enum]
    come = [x for x in new.enum if x is not None and x not in old.enum]
    if gone:
        yield _change(path, ChangeKind.NARROWED, f"no longer {_listed(gone)}")
    if come:
        yield _change(path, ChangeKind.WIDENED, f"also {_listed(come)}")


def _change(path: str, kind: ChangeKind, detail: str) -> Change:
    return Change(path, kind, detail, _CONSEQUENCES[kind])


def _type(schema: Schema) -> str:
    if schema.timestamp is not None:
        return f"timestamp ({schema.timestamp})"
    return "date-time" if schema.date_time else schema.kind


def _shown(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(_shown, values))
