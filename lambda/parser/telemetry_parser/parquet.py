"""Rows into typed Parquet, one row group in memory at a time.

Pure but for the file it is told to write.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
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
    raw_line: int
    message_id: str
    readings: list[Any]
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
            # Every id is another one, but shares its message's part with its neighbours.
            column_dictionary_enabled={"reading_id": False},
            column_encoding={"reading_id": "delta_byte_array"},
        )
    except Exception:
        if failures:  # arro3 passes on the text of an exception only
            raise failures[0] from None
        raise
    return path.stat().st_size


def _group_rows(first: RecordBatch) -> int:
    return max(first.num_rows, _LEAST_GROUP_ROWS)


class Rows:
    """Collects messages and turns their readings into record batches.

    Each batch fills a row group, and is sorted by thing name and time; that is the first field
    of the contract that is a timestamp in every reading, or else the arrival. Equal rows stay
    in the raw object's order.
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
        self._emitted = 0
        self._group_rows = _GROUP_ROWS
        self._clear()

    def _clear(self) -> None:
        self._by_thing: dict[str, list[Message]] = {}
        self._payload_bytes = 0
        # A batch that its bytes closed early is followed by one that completes the row group.
        self._room = self._group_rows - self._emitted % self._group_rows

    def add(self, thing_name: str, message: Message, payload_bytes: int) -> Iterator[RecordBatch]:
        """Take a message in, and yield the batches that it completes."""
        while len(message.readings) > self._room:
            room = self._room
            self._append(thing_name, _part(message, slice(room)))
            yield self._batch()
            message = _part(message, slice(room, None))
        self._append(thing_name, message)
        self._payload_bytes += payload_bytes
        if not self._room or self._payload_bytes >= _GROUP_PAYLOAD_BYTES:
            yield self._batch()

    def rest(self) -> Iterator[RecordBatch]:
        """Yield what was added since the last batch."""
        if self._by_thing:
            yield self._batch()

    def _append(self, thing_name: str, message: Message) -> None:
        self._room -= len(message.readings)
        if thing_name in self._by_thing:
            self._by_thing[thing_name].append(message)
        else:
            self._by_thing[thing_name] = [message]

    def _batch(self) -> RecordBatch:
        things = [(name, self._by_thing[name]) for name in sorted(self._by_thing)]
        messages = [message for _, of_thing in things for message in of_thing]
        readings = [reading for message in messages for reading in message.readings]
        columns = [_array(schema, list(map(get, readings))) for get, schema in self._fields]
        columns += self._row_columns(things, messages)
        batch = RecordBatch.from_arrays(columns, schema=self._schema)
        if self._time is not None:
            get, schema = self._fields[self._time]
            times = _plain(schema, list(map(get, readings)))
        else:
            times = [m.envelope.received_at for m in messages for _ in m.readings]
        order = _order([sum(len(m.readings) for m in of_thing) for _, of_thing in things], times)
        if order is not None:
            batch = batch.take(_unsigned(order))
        if not self._emitted:
            self._group_rows = _group_rows(batch)
        self._emitted += len(readings)
        self._clear()
        return batch

    def _row_columns(
        self, things: list[tuple[str, list[Message]]], messages: list[Message]
    ) -> list[Array]:
        counts = [len(message.readings) for message in messages]
        envelopes = [message.envelope for message in messages]
        of_message: dict[str, list[Any]] = {
            "thing_name": [name for name, of_thing in things for _ in of_thing],
            "topic": [envelope.topic for envelope in envelopes],
            "client_id": [envelope.client_id for envelope in envelopes],
            "certificate_id": [envelope.certificate_id for envelope in envelopes],
            "received_at": [envelope.received_at for envelope in envelopes],
            "trace_id": [envelope.trace_id for envelope in envelopes],
            "raw_key": [self._raw_key] * len(messages),
            "raw_line": [message.raw_line for message in messages],
        }
        of_reading: dict[str, list[Any]] = {
            "reading_index": [index for message in messages for index in message.indexes],
            "reading_id": [f"{m.message_id}-{index}" for m in messages for index in m.indexes],
        }
        # Python makes one value a message; repeating it for each reading is left to Arrow.
        repeats = _unsigned(list(chain.from_iterable(map(repeat, range(len(counts)), counts))))
        return [
            _array(field.schema, of_message[field.name]).take(repeats)
            if field.name in of_message
            else _array(field.schema, of_reading[field.name])
            for field in ROW_FIELDS
        ]


def _part(message: Message, part: slice) -> Message:
    return msgspec.structs.replace(
        message, readings=message.readings[part], indexes=message.indexes[part]
    )


def _is_time(field: Field) -> bool:
    schema = field.schema
    is_time = schema.timestamp is not None or schema.date_time
    return is_time and field.required and not schema.nullable


def _order(counts: list[int], times: list[int]) -> list[int] | None:
    """Return the permutation that sorts each run of ``counts`` rows; None if all are sorted."""
    order: list[int] | None = None
    stop = 0
    for count in counts:
        start, stop = stop, stop + count
        run = times[start:stop]
        if any(map(operator.gt, run, islice(run, 1, None))):
            order = order or list(range(len(times)))
            order[start:stop] = sorted(range(start, stop), key=times.__getitem__)
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
