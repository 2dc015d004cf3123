"""Rows into typed Parquet, one row group in memory at a time.

Pure but for the file it is told to write.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader, list_array, struct_array
from arro3.core import Field as ArrowField
from arro3.core import Schema as ArrowSchema
from arro3.io import write_parquet

from contracts import ROW_FIELDS, Contract, Field, Schema
from telemetry_parser.envelope import Envelope
from telemetry_parser.reading_types import attribute, is_checked

# A batch of a minute's messages is a few such groups: large enough for dictionaries and
# statistics to pay, small enough that one group as Python objects takes some 50 MB.
_GROUP_ROWS = 32 * 1024
_LEAST_GROUP_ROWS = 1024

# Readings so large that a whole group of them would not fit make smaller groups.
_GROUP_PAYLOAD_BYTES = 32 * 1024 * 1024

# Messages wait, as objects, for so many readings before they are taken apart into columns.
_STAGED_ROWS = 512

_OF_MESSAGE = {
    "thing_name": operator.attrgetter("thing_name"),
    "topic": operator.attrgetter("envelope.topic"),
    "client_id": operator.attrgetter("envelope.client_id"),
    "certificate_id": operator.attrgetter("envelope.certificate_id"),
    "received_at": operator.attrgetter("envelope.received_at"),
    "trace_id": operator.attrgetter("envelope.trace_id"),
    "raw_line": operator.attrgetter("raw_line"),
}
_OF_READING = ("reading_index", "reading_id")

_TIMESTAMP = DataType.timestamp("ms", tz="UTC")
_SCALARS = {
    "string": DataType.utf8(),
    "integer": DataType.int64(),
    "number": DataType.float64(),
    "boolean": DataType.bool(),
}


class Message(msgspec.Struct, gc=False):
    """One message with those of its readings that fit the contract.

    Attributes:
        raw_line: From 1.
        message_id: What each ``reading_id`` begins with.
        readings: Instances of ``reading_types.reading_type``.
        indexes: Place of each in the message, from 0.
    """

    envelope: Envelope
    thing_name: str
    raw_line: int
    message_id: str
    readings: Sequence[Any]
    indexes: Sequence[int]


def arrow_schema(contract: Contract) -> ArrowSchema:
    """Types, nullability, descriptions and units of the parsed rows."""
    return ArrowSchema([_arrow_field(field) for field in (*contract.fields, *ROW_FIELDS)])


def write(path: Path, contract: Contract, batches: Iterator[RecordBatch]) -> int:
    """Write one file and return its size in bytes; without a batch there is no file.

    Raises:
        BaseException: Whatever ``batches`` raises, as it is.
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
            max_row_group_size=_group_rows(first),
            **_encodings(contract),
        )
    except Exception:
        if failures:  # arro3 passes on the text of an exception only
            raise failures[0] from None
        raise
    return path.stat().st_size


def _group_rows(first: RecordBatch) -> int:
    return max(first.num_rows, _LEAST_GROUP_ROWS)


def _encodings(contract: Contract) -> dict[str, Any]:
    """Where a dictionary, the default, does not pay: in time and size, measured.

    Integers and times mostly count up; ids of readings share their message's part. What is
    nested keeps the default.
    """
    encodings = {"reading_id": "delta_byte_array", "trace_id": "delta_byte_array"}
    for field in (*contract.fields, *ROW_FIELDS):
        if _arrow_type(field.schema) in (_TIMESTAMP, _SCALARS["integer"]):
            encodings[field.column] = "delta_binary_packed"
    return {
        "column_encoding": encodings,
        "column_dictionary_enabled": dict.fromkeys(encodings, False),
    }


class Rows:
    """Collects messages and turns their readings into record batches.

    Each batch fills a row group, and is sorted by thing name and time; that is the first field
    of the contract that is a timestamp in every reading, or else the arrival. Equal rows stay
    in the raw object's order.

    Attributes:
        oldest_received_at: First arrival in the batches so far, ms since the Unix epoch.
    """

    def __init__(self, contract: Contract, raw_key: str) -> None:
        self._raw_key = raw_key
        self._schema = arrow_schema(contract)
        self._fields = [
            (operator.attrgetter(attribute(index)), field.schema)
            for index, field in enumerate(contract.fields)
        ]
        self._time = next(
            (index for index, field in enumerate(contract.fields) if _is_time(field)), None
        )
        self.oldest_received_at: int | None = None
        self._emitted = 0
        self._group_rows = _GROUP_ROWS
        self._clear()

    def _clear(self) -> None:
        self._staged: list[Message] = []
        self._staged_rows = 0
        self._counts: list[int] = []
        self._values: list[list[Any]] = [[] for _ in self._fields]
        self._of_message: dict[str, list[Any]] = {name: [] for name in _OF_MESSAGE}
        self._of_reading: dict[str, list[Any]] = {name: [] for name in _OF_READING}
        self._payload_bytes = 0
        # A batch that its bytes closed early is followed by one that completes the row group.
        self._room = self._group_rows - self._emitted % self._group_rows

    def add(self, message: Message, payload_bytes: int) -> Iterable[RecordBatch]:
        """Take a message in, and return the batches that it completes."""
        if not message.readings:
            return ()
        if len(message.readings) >= self._room:
            return self._fill(message)
        self._append(message)
        self._payload_bytes += payload_bytes
        if self._payload_bytes >= _GROUP_PAYLOAD_BYTES:
            return (self._batch(),)
        return ()

    def _fill(self, message: Message) -> Iterator[RecordBatch]:
        while len(message.readings) >= self._room:
            room = self._room
            self._append(_part(message, slice(room)))
            yield self._batch()
            message = _part(message, slice(room, None))
        if message.readings:
            self._append(message)

    def rest(self) -> Iterator[RecordBatch]:
        """Yield what was added since the last batch."""
        if self._staged or self._counts:
            yield self._batch()

    def _append(self, message: Message) -> None:
        self._room -= len(message.readings)
        self._staged_rows += len(message.readings)
        self._staged.append(message)
        if self._staged_rows >= _STAGED_ROWS:
            self._unstage()

    def _unstage(self) -> None:
        """Move the staged messages into columns, while the processor's caches hold them."""
        messages, self._staged, self._staged_rows = self._staged, [], 0
        readings = [reading for message in messages for reading in message.readings]
        for (get, _), values in zip(self._fields, self._values, strict=True):
            values.extend(map(get, readings))
        self._counts += [len(message.readings) for message in messages]
        for name, get in _OF_MESSAGE.items():
            self._of_message[name].extend(map(get, messages))
        self._of_reading["reading_index"] += [i for m in messages for i in m.indexes]
        self._of_reading["reading_id"] += [
            f"{m.message_id}-{i}" for m in messages for i in m.indexes
        ]

    def _batch(self) -> RecordBatch:
        self._unstage()
        counts, of_message = self._counts, self._of_message
        arrivals = of_message["received_at"]
        first = min(arrivals)
        if self.oldest_received_at is None or first < self.oldest_received_at:
            self.oldest_received_at = first
        message_of_row = list(chain.from_iterable(map(repeat, range(len(counts)), counts)))
        if self._time is not None:
            times = _plain(self._fields[self._time][1], self._values[self._time])
        else:
            times = [arrivals[index] for index in message_of_row]
        order = _unsigned(_order(of_message["thing_name"], counts, times))
        # Python makes one value a message; repeating it for each reading is left to Arrow.
        message_order = _unsigned(message_of_row).take(order)
        columns = [
            _array(schema, values).take(order)
            for (_, schema), values in zip(self._fields, self._values, strict=True)
        ]
        of_message["raw_key"] = [self._raw_key] * len(counts)
        columns += [
            _array(field.schema, of_message[field.name]).take(message_order)
            if field.name in of_message
            else _array(field.schema, self._of_reading[field.name]).take(order)
            for field in ROW_FIELDS
        ]
        batch = RecordBatch.from_arrays(columns, schema=self._schema)
        if not self._emitted:
            self._group_rows = _group_rows(batch)
        self._emitted += batch.num_rows
        self._clear()
        return batch


def _part(message: Message, part: slice) -> Message:
    return msgspec.structs.replace(
        message, readings=message.readings[part], indexes=message.indexes[part]
    )


def _is_time(field: Field) -> bool:
    schema = field.schema
    is_time = schema.timestamp is not None or schema.date_time
    return is_time and field.required and not schema.nullable


def _order(thing_names: list[str], counts: list[int], times: list[int]) -> list[int]:
    """Return the rows by thing name and time; rows lie in memory message by message."""
    rows_of: dict[str, list[int]] = {}
    stop = 0
    for thing_name, count in zip(thing_names, counts, strict=True):
        start, stop = stop, stop + count
        rows = rows_of.setdefault(thing_name, [])
        if count == 1:
            rows.append(start)
        else:
            rows.extend(range(start, stop))
    order: list[int] = []
    for _, rows in sorted(rows_of.items()):
        rows.sort(key=times.__getitem__)
        order += rows
    return order


def _unsigned(values: list[int]) -> Array:
    return Array(values, type=DataType.uint32())


def _arrow_field(field: Field) -> ArrowField:
    metadata = {"description": field.schema.description, "unit": field.schema.unit}
    return ArrowField(
        field.column,
        _arrow_type(field.schema),
        nullable=field.schema.nullable or not field.required,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


def _arrow_type(schema: Schema) -> DataType:
    if schema.timestamp is not None or schema.date_time:
        return _TIMESTAMP
    if schema.kind == "object":
        return DataType.struct([_arrow_field(field) for field in schema.fields])
    if schema.items is not None:
        return DataType.list(_arrow_item(schema.items))
    return _SCALARS[schema.kind]


def _arrow_item(schema: Schema) -> ArrowField:
    return ArrowField("element", _arrow_type(schema), nullable=schema.nullable)


def _array(schema: Schema, values: list[Any]) -> Array:
    """Make a column, or part of a nested one, of decoded values."""
    if schema.kind == "object":
        return _struct_array(schema, values)
    if schema.items is not None:
        return _list_array(schema.items, values)
    values = _plain(schema, values)
    if schema.timestamp is not None or schema.date_time:
        return Array(values, type=DataType.int64()).cast(_TIMESTAMP)
    return Array(values, type=_SCALARS[schema.kind])


def _plain(schema: Schema, values: list[Any]) -> list[Any]:
    if is_checked(schema):
        values = [None if value is None else value.value for value in values]
    if schema.timestamp == "s":
        values = [None if value is None else 1000 * value for value in values]
    return values


def _struct_array(schema: Schema, values: list[Any]) -> Array:
    columns = []
    for index, field in enumerate(schema.fields):
        get: Callable[[Any], Any] = operator.attrgetter(attribute(index))
        columns.append(
            _array(field.schema, [None if value is None else get(value) for value in values])
        )
    return struct_array(
        columns, fields=[_arrow_field(field) for field in schema.fields], mask=_nulls(values)
    )


def _list_array(items: Schema, values: list[Any]) -> Array:
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value or ()))
    flat = [item for value in values if value is not None for item in value]
    return list_array(
        Array(offsets, type=DataType.int32()),
        _array(items, flat),
        type=DataType.list(_arrow_item(items)),
        mask=_nulls(values),
    )


def _nulls(values: list[Any]) -> Array:
    return Array([value is None for value in values], type=DataType.bool())
