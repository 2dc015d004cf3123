"""The types that readings are decoded into, made from a contract at run time.

msgspec checks a value while it decodes it; what it has no constraint for (date-times in every
detail, enums of numbers and booleans) goes through ``check``.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from contracts import (
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    Contract,
    Scalar,
    Schema,
    integer_range,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# RFC 3339, section 5.6, without leap seconds, which no timestamp column can hold.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


class Checked:
    """A value that msgspec cannot check by itself; each such schema has its own subclass.

    Attributes:
        value: What goes into the column.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = self.convert(value)

    @staticmethod
    def convert(value: object) -> Scalar:
        """Return what goes into the column.

        Raises:
            ValueError: ``value`` does not fit.
        """
        raise NotImplementedError


def check(type_: type[Checked], value: object) -> Checked:
    """Convert ``value``, as msgspec's ``dec_hook``.

    Raises:
        ValueError: It does not fit; msgspec adds the path.
    """
    return type_(value)


def is_checked(schema: Schema) -> bool:
    """Whether values of ``schema`` are decoded into a ``Checked``."""
    return schema.date_time or (schema.enum is not None and schema.kind != "string")


def attribute(index: int) -> str:
    """Attribute of a decoded object that holds the contract's field number ``index``."""
    return f"f{index}"  # a field's own name may be a word of Python's


def reading_type(contract: Contract) -> type[msgspec.Struct]:
    """The type of one reading; a field that may be absent is then None."""
    return _object_type(contract.schema)


def _object_type(schema: Schema) -> type[msgspec.Struct]:
    fields = []
    for index, field in enumerate(schema.fields):
        default = msgspec.NODEFAULT if field.required else None
        fields.append(
            (
                attribute(index),
                _type(field.schema),
                msgspec.field(name=field.name, default=default),
            )
        )
    # Values of JSON hold no cycles, so the garbage collector need not look at them.
    return msgspec.defstruct("Reading", fields, kw_only=True, gc=False)


def _type(schema: Schema) -> Any:
    type_ = _type_of_value(schema)
    return type_ | None if schema.nullable else type_


def _type_of_value(schema: Schema) -> Any:
    if schema.enum is not None:
        return _enum_type(schema)
    if schema.date_time:
        return _checked(_date_time_ms)
    match schema.kind:
        case "object":
            return _object_type(schema)
        case "array":
            assert schema.items is not None  # noqa: S101  # the contract's loader saw to it
            return list[_type(schema.items)]  # type: ignore[misc]  # made at run time
        case "string":
            return Annotated[
                str,
                msgspec.Meta(
                    min_length=schema.min_length,
                    max_length=schema.max_length,
                    pattern=schema.pattern,
                ),
            ]
        case "integer":
            return _integer_type(schema)
        case "number":
            return _number_type(schema)
        case "boolean":
            return bool


def _integer_type(schema: Schema) -> Any:
    lowest, highest = integer_range(schema)
    if lowest > highest:
        return _checked(_one_of((), schema.kind))
    return Annotated[int, msgspec.Meta(ge=lowest, le=highest)]


def _number_type(schema: Schema) -> Any:
    bounds: dict[str, Any] = {}
    low, above = schema.minimum, schema.exclusive_minimum
    if above is not None and (low is None or above >= low):
        bounds["gt"] = float(above)
    elif low is not None:
        bounds["ge"] = float(low)
    high, below = schema.maximum, schema.exclusive_maximum
    if below is not None and (high is None or below <= high):
        bounds["lt"] = float(below)
    elif high is not None:
        bounds["le"] = float(high)
    return Annotated[float, msgspec.Meta(**bounds)]


def _enum_type(schema: Schema) -> Any:
    others = _type_of_value(replace(schema, enum=None))
    fitting = tuple(x for x in schema.enum or () if x is not None and _fits(x, others))
    if schema.kind == "string" and fitting:
        return Literal[fitting]
    return _checked(_one_of(fitting, schema.kind))


def _fits(value: Scalar, type_: Any) -> bool:
    try:
        msgspec.convert(value, type_, dec_hook=check)
    except msgspec.ValidationError:
        return False
    return True


def _checked(convert: Callable[[object], Scalar]) -> type[Checked]:
    return type("Checked", (Checked,), {"__slots__": (), "convert": staticmethod(convert)})


def _one_of(values: tuple[Scalar, ...], kind: str) -> Callable[[object], Scalar]:
    types = {"integer": (int,), "number": (int, float), "boolean": (bool,)}.get(kind, ())

    def convert(value: object) -> Scalar:
        # By exact type: to Python, True is also the integer 1, and 12.0 is equal to 12.
        if type(value) not in types or value not in values:
            raise ValueError("expected one of the values that the contract allows")
        return float(value) if kind == "number" else value  # type: ignore[arg-type]  # one of types

    return convert


def _date_time_ms(value: object) -> int:
    """Milliseconds since the Unix epoch; what is finer is cut off, towards the past."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError("expected an RFC 3339 date-time")
    try:
        milliseconds = (datetime.fromisoformat(value.upper()) - _EPOCH) // _MILLISECOND
    except ValueError:
        raise ValueError("expected a date-time that exists") from None
    if not TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX:
        raise ValueError("expected a date-time within the years 1 to 9999, UTC")
    return milliseconds
