"""Parse one raw object: every line of it ends up in the Parquet file or in the rejected one.

Pure, except that it writes the two files it is given. The Lambda function and ``ops.parse`` share
it.

Why these libraries: msgspec decodes and checks a reading in less time than polars or DuckDB take to
read it unchecked. arro3 writes Parquet and has a fifth of pyarrow's size. isal gunzips in half of
zlib's time. Importing all three takes a tenth of the time that importing pandas takes.
``tests/bench/parser.py`` measures this.
"""

import gc
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from arro3.core import RecordBatch

from contracts import Contract
from telemetry_parser.envelope import (
    GZIP_MAGIC,
    Envelope,
    Expander,
    RawLines,
    Readable,
    Topics,
    decode_line,
    decode_lines,
)
from telemetry_parser.limits import Limits
from telemetry_parser.parquet import write
from telemetry_parser.readings import ReadingDecoder
from telemetry_parser.rejected import RejectedWriter
from telemetry_parser.rejections import MessageError, ReasonClass, Rejection
from telemetry_parser.rows import Messages, Rows
from telemetry_parser.unknown_fields import ONE_IN, UnknownFields

_LINE_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one raw object.

    ``messages_rejected`` counts messages that are rejected whole; each of them also counts as one
    rejected reading. A message of which only single readings are rejected counts as parsed.

    Attributes:
        lines: Of the raw object, blank ones included.
        rejected_by: Rejected readings by class of reason.
        raw_bytes: Size of the raw object after gunzip.
        payload_bytes: Size of all payloads after gunzip.
        parquet_bytes: Size of the Parquet file; 0 if there are no rows, and so no file.
        rejected_bytes: Size of the rejected file; 0 if nothing was rejected, and there is no file.
        oldest_received_at: First arrival among the rows, ms since the Unix epoch.
        unknown_fields: Names outside the contract, as seen in a sample of the messages.
        unknown_fields_unnamed: How many more there were, left out as too many or not plain text.
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

        A file is made only if something goes into it. Rows and rejected lines name ``raw_key`` as
        their source.

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
    """Switch the garbage collector off: nothing here makes cycles, and it takes long."""
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
        self._messages = Messages()
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
            envelopes = decode_lines(lines)
            if envelopes is None:
                yield from self._take_each(lines, repeat(None))
            else:
                yield from self._take_runs(lines, envelopes)
        yield from self.rows.add(self._messages)
        yield from self.rows.rest()
        self.raw_bytes = blocks.size

    def _take_runs(
        self, lines: Sequence[bytes], envelopes: Sequence[Envelope]
    ) -> Iterator[RecordBatch]:
        """Take in lines. Runs of lines that hold one good reading each, as most do, go together."""
        payloads = [envelope.payload for envelope in envelopes]
        readings = self._decoder.decode_singles(payloads)
        start = 0
        for other in [*(n for n, reading in enumerate(readings) if reading is None), len(lines)]:
            run = slice(start, other)
            if start < other and not self._take_run(envelopes[run], payloads[run], readings[run]):
                yield from self._take_each(lines[run], envelopes[run])
            start = other + 1
            yield from self._take_each(lines[other:start], envelopes[other:start])
            yield from self._rows_if_enough()

    def _take_each(
        self, lines: Iterable[bytes], envelopes: Iterable[Envelope | None]
    ) -> Iterator[RecordBatch]:
        for line, envelope in zip(lines, envelopes, strict=False):
            self.lines += 1
            try:
                envelope = envelope or decode_line(line)  # noqa: PLW2901  # decoded at most once
                self._take(line, envelope)
            except MessageError as error:
                self._reject_message(line, envelope, error)
                continue
            yield from self._rows_if_enough()

    def _rows_if_enough(self) -> Iterable[RecordBatch]:
        if not self._messages.are_enough:
            return ()
        messages, self._messages = self._messages, Messages()
        return self.rows.add(messages)

    def _take_run(
        self, envelopes: Sequence[Envelope], payloads: Sequence[bytes], readings: Sequence[Any]
    ) -> bool:
        """Take in messages of one reading each; return False if one has a wrong topic.

        In that case none of them is taken in.
        """
        try:
            devices = [self._topics[envelope.topic] for envelope in envelopes]
        except MessageError:
            return False
        for payload in payloads[-self.messages_parsed % ONE_IN :: ONE_IN]:
            self.unknown_fields.sample(payload)
        count, size = len(envelopes), sum(map(len, payloads))
        self._count(count, count, size)
        taken = self._messages
        taken.envelopes += envelopes
        taken.devices += devices
        taken.raw_lines += range(self.lines + 1, self.lines + 1 + count)
        taken.ids += [
            _message_id(device.topic, payload)
            for device, payload in zip(devices, payloads, strict=True)
        ]
        taken.counts += [1] * count
        taken.readings += readings
        taken.indexes += [0] * count
        taken.payload_bytes += size
        self.lines += count
        return True

    def _take(self, line: bytes, envelope: Envelope) -> None:
        """Take in one message; write its readings that do not fit to the rejected file.

        Raises:
            MessageError: The message is rejected whole.
        """
        device = self._topics[envelope.topic]
        payload = packed = envelope.payload
        if packed.startswith(GZIP_MAGIC):
            payload = self._expander.expand(packed)
        readings = self._decoder.decode(payload)
        if readings is None:
            most = 1 + self._room_for_repeats // len(line)
            readings = self._decoder.decode_each(payload, most_rejections=most)
            self._reject_readings(line, envelope, readings.rejections)
        if self.messages_parsed % ONE_IN == 0:
            self.unknown_fields.sample(payload)
        count, size = len(readings.values), len(payload)
        self._count(1, count, size)
        if count:
            taken = self._messages
            taken.envelopes.append(envelope)
            taken.devices.append(device)
            taken.raw_lines.append(self.lines)
            taken.ids.append(_message_id(device.topic, packed))
            taken.counts.append(count)
            taken.readings += readings.values
            taken.indexes += readings.indexes
            taken.payload_bytes += size

    def _count(self, messages: int, readings: int, payload_bytes: int) -> None:
        self.messages_parsed += messages
        self.readings_parsed += readings
        self.payload_bytes += payload_bytes

    def _reject_message(self, line: bytes, envelope: Envelope | None, error: MessageError) -> None:
        if line.strip(_LINE_SPACE):
            self.messages_rejected += 1
            self._reject(line, envelope, error.rejection)
        else:
            self.blank_lines += 1

    def _reject_readings(
        self, line: bytes, envelope: Envelope, rejections: Sequence[Rejection]
    ) -> None:
        self._room_for_repeats -= len(line) * max(0, len(rejections) - 1)
        for rejection in rejections:
            self._reject(line, envelope, rejection)

    def _reject(self, line: bytes, envelope: Envelope | None, rejection: Rejection) -> None:
        self.rejected_by[rejection.reason_class] += 1
        self._rejected.write(
            line,
            self.lines,
            rejection,
            thing_name=None if envelope is None else self._thing_name(envelope),
            received_at=None if envelope is None else envelope.received_at,
        )

    def _thing_name(self, envelope: Envelope) -> str | None:
        try:
            return self._topics[envelope.topic].thing_name
        except MessageError:
            return None


def _message_id(topic: bytes, payload: bytes) -> str:
    """Return 128 bits that identify a message; a redelivered message has the same."""
    return hashlib.blake2b(topic + b"\0" + payload, digest_size=16).hexdigest()
