"""Turn messages into rows: sorted record batches, one per row group.

Pure: values in, record batches out.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, repeat
from typing import Any, TypeVar

from arro3.core import Array, ChunkedArray, DataType, RecordBatch

from contracts import ROW_FIELDS, Contract, Field
from telemetry_parser.columns import arrow_schema, column, fields_of, plain
from telemetry_parser.envelope import Device, Envelope

_Value = TypeVar("_Value")

# A batch of a minute's messages is a few such groups: large enough for dictionaries and
# statistics to pay, small enough that one group takes some 30 MB while it is sorted.
_GROUP_ROWS = 32 * 1024
_LEAST_GROUP_ROWS = 1024

# Large readings make smaller groups, which fit into the memory.
_GROUP_PAYLOAD_BYTES = 32 * 1024 * 1024

# How many readings are Python objects at a time: few enough for the processor's caches.
_MOST_OBJECTS = 1024


# The row columns, without the one that is the same in all rows.
_CHUNK_FIELDS = {field.name: field.schema for field in ROW_FIELDS if field.name != "raw_key"}


@dataclass(slots=True)
class Messages:
    """Messages and their readings that fit the contract, at least one each.

    Attributes:
        envelopes: One per message; so are the lists down to ``counts``.
        raw_lines: From 1.
        ids: What each ``reading_id`` begins with.
        counts: How many of the readings belong to each message.
        readings: Instances of ``contracts.reading.reading_type``.
        indexes: Place of each reading in its message, from 0.
        payload_bytes: Size of all payloads after gunzip.
    """

    envelopes: list[Envelope] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    raw_lines: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    readings: list[Any] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    payload_bytes: int = 0

    @property
    def are_enough(self) -> bool:
        """Whether they should become rows now."""
        return (
            len(self.readings) >= _MOST_OBJECTS or self.payload_bytes >= _GROUP_PAYLOAD_BYTES // 8
        )

    def split(self, readings: int) -> tuple["Messages", "Messages"]:
        """Return two parts; the first has ``readings`` readings. A message may be in both."""
        ends = list(accumulate(self.counts))
        last = bisect_left(ends, readings)
        left = ends[last] - readings
        first = last if left else last + 1
        return Messages(
            self.envelopes[: last + 1],
            self.devices[: last + 1],
            self.raw_lines[: last + 1],
            self.ids[: last + 1],
            [*self.counts[:last], self.counts[last] - left],
            self.readings[:readings],
            self.indexes[:readings],
        ), Messages(
            self.envelopes[first:],
            self.devices[first:],
            self.raw_lines[first:],
            self.ids[first:],
            [*([left] if left else []), *self.counts[last + 1 :]],
            self.readings[readings:],
            self.indexes[readings:],
            self.payload_bytes,
        )


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
        self._fields = contract.fields
        self._time = next(
            (index for index, field in enumerate(contract.fields) if _is_time(field)), None
        )
        self.oldest_received_at: int | None = None
        self._emitted = 0
        self._group_rows = _GROUP_ROWS
        self._clear()

    def _clear(self) -> None:
        self._chunks: list[list[Array]] = []  # each holds every column except raw_key
        self._things: list[str] = []
        self._counts: list[int] = []
        self._times: list[int] = []
        self._payload_bytes = 0
        # After a batch that was closed early by its size, the next one completes the row group.
        self._room = self._group_rows - self._emitted % self._group_rows

    def add(self, messages: Messages) -> Iterator[RecordBatch]:
        """Take in messages, and yield the batches that they complete."""
        while len(messages.readings) >= self._room:
            head, messages = messages.split(self._room)
            self._append(head)
            yield self._batch()
        if messages.readings:
            self._append(messages)
            if self._payload_bytes >= _GROUP_PAYLOAD_BYTES:
                yield self._batch()

    def rest(self) -> Iterator[RecordBatch]:
        """Yield what was added since the last batch."""
        if self._chunks:
            yield self._batch()

    def _append(self, messages: Messages) -> None:
        values = fields_of(messages.readings)
        things = [device.thing_name for device in messages.devices]
        self._chunks.append(
            [
                *(column(f.schema, v) for f, v in zip(self._fields, values, strict=True)),
                *_row_columns(messages, things),
            ]
        )
        arrivals = [envelope.received_at for envelope in messages.envelopes]
        self._things += things
        self._counts += messages.counts
        self._times += (
            _repeated(arrivals, messages.counts)
            if self._time is None
            else plain(self._fields[self._time].schema, values[self._time])
        )
        oldest = min(arrivals)
        if self.oldest_received_at is None or oldest < self.oldest_received_at:
            self.oldest_received_at = oldest
        self._payload_bytes += messages.payload_bytes
        self._room -= len(messages.readings)

    def _batch(self) -> RecordBatch:
        order = _unsigned(_order(self._things, self._counts, self._times))
        columns = [
            ChunkedArray(chunks).combine_chunks().take(order)
            for chunks in zip(*self._chunks, strict=True)
        ]
        raw_key = Array([self._raw_key], type=DataType.utf8()).take(_unsigned([0] * len(order)))
        columns.insert(self._schema.get_field_index("raw_key"), raw_key)
        batch = RecordBatch.from_arrays(columns, schema=self._schema)
        if not self._emitted:
            self._group_rows = group_rows(batch)
        self._emitted += batch.num_rows
        self._clear()
        return batch


def _row_columns(messages: Messages, things: Sequence[str]) -> Iterator[Array]:
    """Yield the columns of ``_CHUNK_FIELDS``."""
    counts = messages.counts
    ids = _repeated(messages.ids, counts)
    of_reading: dict[str, Sequence[Any]] = {
        "reading_index": messages.indexes,
        "reading_id": [
            f"{message_id}-{index}" for message_id, index in zip(ids, messages.indexes, strict=True)
        ],
    }
    of_message: dict[str, Sequence[Any]] = {
        "thing_name": things,
        "raw_line": messages.raw_lines,
        **dict(zip(Envelope.__struct_fields__, fields_of(messages.envelopes), strict=True)),
    }
    # Python makes one value per message; Arrow repeats it for each reading.
    packed = len(messages.readings) > len(counts)
    message_of_row = _unsigned(_repeated(range(len(counts)), counts)) if packed else None
    for name, schema in _CHUNK_FIELDS.items():
        if name in of_reading:
            yield column(schema, of_reading[name])
        else:
            array = column(schema, of_message[name])
            yield array if message_of_row is None else array.take(message_of_row)


def group_rows(first: RecordBatch) -> int:
    """Size of the row groups of a file that begins with the batch ``first``."""
    return max(first.num_rows, _LEAST_GROUP_ROWS)


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


def _repeated(of_message: Sequence[_Value], counts: Sequence[int]) -> list[_Value]:
    """Return a message's value once for each of its readings."""
    return list(chain.from_iterable(map(repeat, of_message, counts)))


def _unsigned(values: Sequence[int]) -> Array:
    return Array(values, type=DataType.uint32())
