"""What a contract says: ``Contract``, ``Field`` and ``Schema``. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

Kind = Literal["object", "string", "integer", "number", "boolean", "array"]
Scalar = str | int | float | bool | None

DIALECT = "https://json-schema.org/draft/2020-12/schema"

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

# 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999Z: what every reader of the Parquet files,
# Athena and Python among them, can hold as a timestamp.
TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX = -62_135_596_800_000, 253_402_300_799_999


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What one value may be.

    Attributes:
        kind: JSON Schema's ``type``; integers are 64-bit.
        nullable: The value may be ``null``.
        enum: The only values allowed (``None`` among them if nullable); None allows any.
        minimum: Inclusive bound of a number; likewise the next three.
        min_length: In Unicode code points; likewise ``max_length``.
        pattern: ECMA-262 regular expression that must match somewhere in the string;
            ``contracts.patterns`` translates it.
        timestamp: Unit of an integer that counts from the Unix epoch; stored as UTC time.
        date_time: The string is an RFC 3339 date-time; stored as UTC time, to the millisecond.
        items: What an array holds.
        fields: What an object holds, in the contract's order.
        description: For people; becomes the column's comment.
        examples: Values as devices send them, which need not fit; the simulator uses them.
        unit: Unit of measure, a UCUM code where there is one (https://ucum.org/ucum).
    """

    kind: Kind
    nullable: bool = False
    enum: tuple[Scalar, ...] | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    exclusive_minimum: int | float | None = None
    exclusive_maximum: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    timestamp: Literal["ms", "s"] | None = None
    date_time: bool = False
    items: "Schema | None" = None
    fields: tuple["Field", ...] = ()
    description: str | None = None
    examples: tuple[Any, ...] = ()
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One property of an object.

    Attributes:
        name: As the device writes it.
        schema: What its value may be.
        required: A reading without it is rejected; otherwise a missing field is null.
    """

    name: str
    schema: Schema
    required: bool

    @property
    def column(self) -> str:
        """Its name in Parquet and Glue, which knows lower case only."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Contract:
    """One channel's contract.

    Attributes:
        channel: Name of the file, last level of the topic, table in Athena.
        schema: The reading, an object.
        document: The JSON Schema document it was read from.
        expected_every: How often each device reports (``x-expected-every``); None if that varies,
            so that no device is reported as silent.
    """

    channel: str
    schema: Schema
    document: Mapping[str, Any]
    expected_every: timedelta | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The reading's own fields, without ``ROW_FIELDS``."""
        return self.schema.fields


def time_field(contract: Contract) -> Field | None:
    """The field with a reading's own time: the first time that every reading has.

    None if there is none; the time of arrival stands for it then.
    """
    return next(
        (
            field
            for field in contract.fields
            if field.required
            and not field.schema.nullable
            and (field.schema.timestamp is not None or field.schema.date_time)
        ),
        None,
    )


def integer_range(schema: Schema) -> tuple[int, int]:
    """The least and the greatest integer that ``schema``, of kind integer, allows.

    The first exceeds the second where its bounds leave nothing.
    """
    lowest, highest = INT64_MIN, INT64_MAX
    if schema.timestamp is not None:
        lowest, highest = timestamp_range(schema.timestamp)
    if schema.minimum is not None:
        lowest = max(lowest, int(schema.minimum))
    if schema.exclusive_minimum is not None:
        lowest = max(lowest, int(schema.exclusive_minimum) + 1)
    if schema.maximum is not None:
        highest = min(highest, int(schema.maximum))
    if schema.exclusive_maximum is not None:
        highest = min(highest, int(schema.exclusive_maximum) - 1)
    return lowest, highest


def timestamp_range(unit: str) -> tuple[int, int]:
    """The first and the last moment of the years 1 to 9999, in ``unit`` (``ms`` or ``s``)."""
    scale = 1000 if unit == "s" else 1
    return -(-TIMESTAMP_MS_MIN // scale), TIMESTAMP_MS_MAX // scale


def contradiction(schema: Schema) -> str | None:
    """What keywords of ``schema`` contradict each other; None if they do not."""
    lowest = [x for x in (schema.minimum, schema.exclusive_minimum) if x is not None]
    highest = [x for x in (schema.maximum, schema.exclusive_maximum) if x is not None]
    if lowest and highest and max(lowest) > min(highest):
        return f"expected a minimum not above the maximum, got {max(lowest)} and {min(highest)}"
    shortest, longest = schema.min_length, schema.max_length
    if shortest is not None and longest is not None and shortest > longest:
        return f"expected minLength not above maxLength, got {shortest} and {longest}"
    if schema.date_time and (schema.enum or schema.pattern or shortest or longest):
        return (
            "a date-time is stored as a timestamp; expected no enum, pattern, minLength or "
            "maxLength beside it"
        )
    return None
