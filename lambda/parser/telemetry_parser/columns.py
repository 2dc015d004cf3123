"""Decoded values as Arrow columns, with the contract's types.

Pure: values in, arrays out.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from arro3.core import Array, DataType, list_array, struct_array
from arro3.core import Field as ArrowField
from arro3.core import Schema as ArrowSchema

from contracts import ROW_FIELDS, Contract, Field, Schema
from contracts.reading import is_checked

_TIMESTAMP = DataType.timestamp("ms", tz="UTC")
_SCALARS = {
    "string": DataType.utf8(),
    "integer": DataType.int64(),
    "number": DataType.float64(),
    "boolean": DataType.bool(),
}


def arrow_schema(contract: Contract) -> ArrowSchema:
    """Types, nullability, descriptions and units of the parsed rows."""
    return ArrowSchema([_arrow_field(field) for field in (*contract.fields, *ROW_FIELDS)])


def is_integer(schema: Schema) -> bool:
    """Whether a column of ``schema`` holds integers, which a time is as well."""
    return _arrow_type(schema) in (_TIMESTAMP, _SCALARS["integer"])


def fields_of(readings: Sequence[msgspec.Struct]) -> list[Sequence[Any]]:
    """The values of each field, of at least one instance of a ``contracts.reading`` type."""
    return list(zip(*map(msgspec.structs.astuple, readings), strict=True))


def column(schema: Schema, values: Sequence[Any]) -> Array:
    """Make a column, or part of a nested one, of decoded values."""
    if schema.kind == "object":
        return _struct_column(schema, values)
    if schema.items is not None:
        return _list_column(schema.items, values)
    values = plain(schema, values)
    if _is_timestamp(schema):
        return Array(values, type=_SCALARS["integer"]).cast(_TIMESTAMP)
    return Array(values, type=_SCALARS[schema.kind])


def plain(schema: Schema, values: Sequence[Any]) -> Sequence[Any]:
    """What a scalar column holds for decoded values; times in milliseconds."""
    if is_checked(schema):
        values = [None if value is None else value.value for value in values]
    if schema.timestamp == "s":
        values = [None if value is None else 1000 * value for value in values]
    return values


def _struct_column(schema: Schema, values: Sequence[Any]) -> Array:
    absent = (None,) * len(schema.fields)
    rows = [absent if value is None else msgspec.structs.astuple(value) for value in values]
    parts = zip(*rows, strict=True) if rows else ((),) * len(schema.fields)
    return struct_array(
        [column(field.schema, part) for field, part in zip(schema.fields, parts, strict=True)],
        fields=[_arrow_field(field) for field in schema.fields],
        mask=_nulls(values),
    )


def _list_column(items: Schema, values: Sequence[Any]) -> Array:
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value or ()))
    flat = [item for value in values if value is not None for item in value]
    return list_array(
        Array(offsets, type=DataType.int32()),
        column(items, flat),
        type=DataType.list(_arrow_item(items)),
        mask=_nulls(values),
    )


def _nulls(values: Sequence[Any]) -> Array:
    return Array([value is None for value in values], type=DataType.bool())


def _arrow_field(field: Field) -> ArrowField:
    metadata = {"description": field.schema.description, "unit": field.schema.unit}
    return ArrowField(
        field.column,
        _arrow_type(field.schema),
        nullable=field.schema.nullable or not field.required,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


def _arrow_type(schema: Schema) -> DataType:
    if _is_timestamp(schema):
        return _TIMESTAMP
    if schema.kind == "object":
        return DataType.struct([_arrow_field(field) for field in schema.fields])
    if schema.items is not None:
        return DataType.list(_arrow_item(schema.items))
    return _SCALARS[schema.kind]


def _is_timestamp(schema: Schema) -> bool:
    return schema.timestamp is not None or schema.date_time


def _arrow_item(schema: Schema) -> ArrowField:
    return ArrowField("element", _arrow_type(schema), nullable=schema.nullable)
