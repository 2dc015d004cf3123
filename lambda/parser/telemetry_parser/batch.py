"""Parse one raw object: every line of it ends up in the Parquet file or in the rejected one.

Pure but for the two files it is told to write; the Lambda function and ``ops.parse`` share it.

Why so: msgspec decodes and checks a reading in less time than polars or DuckDB take to read it
unchecked; arro3 writes Parquet from a fifth of pyarrow's size; isal gunzips in half of zlib's time.
All three are imported in a tenth of pandas' time. ``tests/bench/parser.py`` measures it again.
"""

import gc
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arro3.core import RecordBatch

from contracts import Contract
from telemetry_parser.envelope import GZIP_MAGIC, Expander, RawLines, Readable, Topics, decode_line
from telemetry_parser.limits import Limits
from telemetry_parser.parquet import Message, Rows, write
from telemetry_parser.readings import ReadingDecoder
from telemetry_parser.reasons import MessageError, ReasonClass, Rejection
from telemetry_parser.rejected import RejectedWriter
from telemetry_parser.unknown_fields import ONE_IN, UnknownFields

_LINE_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one raw object.

    A message is rejected only as a whole; one of which a single reading is rejected is parsed.
    A message that is rejected counts as one reading that is.

    Attributes:
        lines: Of the raw object, blank ones included.
        rejected_by: Rejected readings by class of reason.
        raw_bytes: Size of the raw object after gunzip.
        payload_bytes: Size of all payloads after gunzip.
        parquet_bytes: Size of the Parquet file; 0: there is none, as there are no rows.
        rejected_bytes: Size of the rejected file; 0: there is none, as nothing was rejected.
        oldest_received_at: First arrival among the rows, ms since the Unix epoch.
        unknown_fields: Names outside the contract, as seen in a sample of the messages.
        unknown_fields_unnamed: How many more of them there were, too many or too odd to name.
    """

    raw_key: str
    lines: int
    blank_lines: int
    messages_parsed: int
    messages_rejected: int
    readings_parsed: int
    readings_rejected: int
    rejected_by: Mapping[ReasonClass, int]
    raw_bytes: int
    payload_bytes: int
    parquet_bytes: int
    rejected_bytes: int
    oldest_received_at: int | None
    unknown_fields: tuple[str, ...]
    unknown_fields_unnamed: int

    @property
    def messages(self) -> int:
        """All messages, which are the lines that are not blank."""
        return self.messages_parsed + self.messages_rejected


class Parser:
    """Parses raw objects of one channel."""

    def __init__(self, contract: Contract, limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
        self.contract = contract
        self._limits = limits
        self._decoder = ReadingDecoder(contract, limits)

    def parse(
        self, raw: Readable, *, raw_key: str, parquet_path: Path, rejected_path: Path
    ) -> Result:
        """Read ``raw`` to its end and write what it holds to the two files.

        A file is made only if something goes into it. ``raw_key`` is where the rows and the
        rejected lines say they come from.

        Raises:
            ObjectError: The object cannot be read to its end; the files are not to be used.
        """
        with RejectedWriter(rejected_path, raw_key) as rejected, _no_garbage_collection():
            run = _Run(self.contract, self._limits, self._decoder, raw_key, rejected)
            parquet_bytes = write(parquet_path, self.contract, run.batches(raw))
        return Result(
            raw_key=raw_key,
            lines=run.lines,
            blank_lines=run.blank_lines,
            messages_parsed=run.messages_parsed,
            messages_rejected=run.messages_rejected,
            readings_parsed=run.readings_parsed,
            readings_rejected=run.rejected_by.total(),
            rejected_by=dict(run.rejected_by),
            raw_bytes=run.raw_bytes,
            payload_bytes=run.payload_bytes,
            parquet_bytes=parquet_bytes,
            rejected_bytes=rejected.size,
            oldest_received_at=run.rows.oldest_received_at,
            unknown_fields=run.unknown_fields.named,
            unknown_fields_unnamed=run.unknown_fields.unnamed,
        )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Leave all to reference counts: nothing here makes cycles, and looking for them takes long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Run:
    """The parsing of one object: what it has counted so far."""

    def __init__(
        self,
        contract: Contract,
        limits: Limits,
        decoder: ReadingDecoder,
        raw_key: str,
        rejected: RejectedWriter,
    ) -> None:
        self._limits = limits
        self._decoder = decoder
        self._rejected = rejected
        self.rows = Rows(contract, raw_key)
        self._topics = Topics(contract.channel)
        self._expander = Expander(limits)
        self._room_for_repeats = limits.max_rejected_bytes
        self.unknown_fields = UnknownFields(contract)
        self.lines = self.blank_lines = 0
        self.messages_parsed = self.messages_rejected = 0
        self.readings_parsed = 0
        self.rejected_by: Counter[ReasonClass] = Counter()
        self.raw_bytes = self.payload_bytes = 0

    def batches(self, raw: Readable) -> Iterator[RecordBatch]:
        """Yield the rows, and write the rejected lines."""
        blocks = RawLines(raw, self._limits)
        for lines in blocks:
            for line in lines:
                self.lines += 1
                try:
                    message, size = self._message(line)
                except MessageError as error:
                    self._reject_message(line, error)
                    continue
                if batches := self.rows.add(message, size):
                    yield from batches
        yield from self.rows.rest()
        self.raw_bytes = blocks.size

    def _message(self, line: bytes) -> tuple[Message, int]:
        """Return the message in ``line``, and the size of its payload after gunzip."""
        envelope = decode_line(line)
        device = self._topics[envelope.topic]
        payload = packed = envelope.payload
        if packed.startswith(GZIP_MAGIC):
            payload = self._expander.expand(packed)
        size = len(payload)
        readings = self._decoder.decode(payload)
        if readings is None:
            most = 1 + self._room_for_repeats // len(line)
            readings = self._decoder.decode_each(payload, most_rejections=most)
            self._reject_readings(line, readings.rejections)
        if self.messages_parsed % ONE_IN == 0:
            self.unknown_fields.sample(payload)
        self.messages_parsed += 1
        self.readings_parsed += len(readings.values)
        self.payload_bytes += size
        envelope.payload = b""  # it may be large, and is not needed any more
        return Message(
            envelope,
            device.thing_name,
            self.lines,
            _message_id(device.topic, packed),
            readings.values,
            readings.indexes,
        ), size

    def _reject_message(self, line: bytes, error: MessageError) -> None:
        if line.strip(_LINE_SPACE):
            self.messages_rejected += 1
            self._reject(line, error.rejection)
        else:
            self.blank_lines += 1

    def _reject_readings(self, line: bytes, rejections: Sequence[Rejection]) -> None:
        self._room_for_repeats -= len(line) * max(0, len(rejections) - 1)
        for rejection in rejections:
            self._reject(line, rejection)

    def _reject(self, line: bytes, rejection: Rejection) -> None:
        self.rejected_by[rejection.reason_class] += 1
        self._rejected.write(line, self.lines, rejection)


def _message_id(topic: bytes, payload: bytes) -> str:
    """128 bits that tell a message from every other, and are the same when it is redelivered."""
    return hashlib.blake2b(topic + b"\0" + payload, digest_size=16).hexdigest()
