"""Turn decoded values into Arrow columns with the contract's types, and batches into Parquet.

Pure, except that ``write`` writes the file it is given.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader, list_array, struct_array
from arro3.core import Field as ArrowField
from arro3.core import Schema as ArrowSchema
from arro3.io import write_parquet

from contracts import ROW_FIELDS, Contract, Field, Schema
from contracts.reading import is_checked

# Large enough for dictionaries and statistics to pay.
_GROUP_ROWS = 32 * 1024

_TIMESTAMP = DataType.timestamp("ms", tz="UTC")
_SCALARS = {
    "string": DataType.utf8(),
    "integer": DataType.int64(),
    "number": DataType.float64(),
    "boolean": DataType.bool(),
}


def write(path: Path, contract: Contract, batches: Iterator[RecordBatch]) -> int:
    """Write one file and return its size in bytes; without a batch there is no file.

    Raises:
        BaseException: Anything that ``batches`` raises, unchanged.
    """
    first = next(batches, None)
    if first is None:
        return 0
    failures: list[BaseException] = []

    def guarded() -> Iterator[RecordBatch]:
        try:
            yield from chain((first,), batches)
        except BaseException as failure:
            failures.append(failure)
            raise

    try:
        write_parquet(
            RecordBatchReader.from_batches(arrow_schema(contract), guarded()),
            path,
            compression="zstd(1)",
            max_row_group_size=_GROUP_ROWS,
            **_encodings(contract),
        )
    except Exception:
        if failures:  # arro3 passes on the text of an exception only
            raise failures[0] from None
        raise
    return path.stat().st_size


def _encodings(contract: Contract) -> dict[str, Any]:
    """Return the encodings that take less time and size than a dictionary, the default (measured).

    Integers and times mostly count up. Nested columns keep the default.
    """
    integers = [
        field.column
        for field in (*contract.fields, *ROW_FIELDS)
        if _arrow_type(field.schema) in (_TIMESTAMP, _SCALARS["integer"])
    ]
    return {
        "column_encoding": dict.fromkeys(integers, "delta_binary_packed"),
        "column_dictionary_enabled": dict.fromkeys(integers, False),
    }


def arrow_schema(contract: Contract) -> ArrowSchema:
    """Types, nullability, descriptions and units of the parsed rows."""
    return ArrowSchema([_arrow_field(field) for field in (*contract.fields, *ROW_FIELDS)])


def fields_of(readings: Sequence[msgspec.Struct]) -> list[Sequence[Any]]:
    """The values of each field, of at least one instance of a ``contracts.reading`` type."""
    return list(zip(*map(msgspec.structs.astuple, readings), strict=True))


def column(schema: Schema, values: Sequence[Any]) -> Array:
    """Make a column, or part of a nested one, of decoded values."""
    if schema.kind == "object":
        return _struct_column(schema, values)
    if schema.items is not None:
        return _list_column(schema.items, values)
    values = _plain(schema, values)
    if _is_timestamp(schema):
        return Array(values, type=_SCALARS["integer"]).cast(_TIMESTAMP)
    return Array(values, type=_SCALARS[schema.kind])


def _plain(schema: Schema, values: Sequence[Any]) -> Sequence[Any]:
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
