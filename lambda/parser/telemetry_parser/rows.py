"""Collect readings that fit, and make record batches of them.

Pure: values in, batches out.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from arro3.core import Array, DataType, RecordBatch

from contracts import ROW_FIELDS, Contract
from telemetry_parser.decoder import Readings
from telemetry_parser.message import Envelope, Origin
from telemetry_parser.parquet import arrow_schema, column, fields_of

# So many readings are Python objects at a time; the processor's caches hold about as many.
_BATCH_ROWS = 2048
_BATCH_PAYLOAD_BYTES = 4 * 1024 * 1024


class Rows:
    """The readings of one raw object that are not in a record batch yet.

    Attributes:
        oldest_received_at: First arrival among all rows, ms since the Unix epoch; None without one.
    """

    def __init__(self, contract: Contract, raw_key: str) -> None:
        self._schema = arrow_schema(contract)
        self._fields = contract.fields
        self._raw_key = Array([raw_key], type=DataType.utf8())
        self.oldest_received_at: int | None = None
        self._clear()

    def _clear(self) -> None:
        self._readings: list[Any] = []
        self._payload_bytes = 0
        self._things: list[str] = []
        self._customers: list[str | None] = []
        self._arrivals: list[int] = []
        self._raw_lines: list[int] = []
        self._indexes: list[int] = []

    def add_singles(
        self,
        readings: Sequence[Any],
        origins: Sequence[Origin],
        arrivals: Sequence[int],
        raw_lines: Sequence[int],
        *,
        size: int,
    ) -> None:
        """Add messages of one reading each; ``size`` is that of all their payloads."""
        self._readings += readings
        self._payload_bytes += size
        things, customers = zip(*origins, strict=True)
        self._things += things
        self._customers += customers
        self._arrivals += arrivals
        self._raw_lines += raw_lines
        self._indexes += repeat(0, len(readings))

    def add_message(
        self, readings: Readings, envelope: Envelope, origin: Origin, raw_line: int, *, size: int
    ) -> None:
        """Add the readings of one message that fit; ``size`` is its payload's, after gunzip."""
        count = len(readings.values)
        self._readings += readings.values
        self._payload_bytes += size
        self._things += repeat(origin.thing_name, count)
        self._customers += repeat(origin.customer, count)
        self._arrivals += repeat(envelope.received_at, count)
        self._raw_lines += repeat(raw_line, count)
        self._indexes += readings.indexes

    @property
    def are_enough(self) -> bool:
        """Whether to call ``batch`` before more is added."""
        return len(self._readings) >= _BATCH_ROWS or self._payload_bytes >= _BATCH_PAYLOAD_BYTES

    def __len__(self) -> int:
        return len(self._readings)

    def batch(self) -> RecordBatch:
        """Return the rows, of which there must be one at least, and forget them."""
        oldest = min(self._arrivals)
        if self.oldest_received_at is None or oldest < self.oldest_received_at:
            self.oldest_received_at = oldest
        values: dict[str, Sequence[Any]] = {
            "thing_name": self._things,
            "customer": self._customers,
            "received_at": self._arrivals,
            "raw_line": self._raw_lines,
            "reading_index": self._indexes,
        }
        raw_keys = self._raw_key.take(Array([0] * len(self), type=DataType.uint32()))
        columns = [
            column(field.schema, of_field)
            for field, of_field in zip(self._fields, fields_of(self._readings), strict=True)
        ]
        columns += [
            raw_keys if field.name == "raw_key" else column(field.schema, values[field.name])
            for field in ROW_FIELDS
        ]
        self._clear()
        return RecordBatch.from_arrays(columns, schema=self._schema)
