"""Parse one raw object: every line of it ends up in the Parquet file or in the rejected one.

Pure, except for the two files that it writes; the Lambda function and ``ops.parse`` share it.

The Parquet writer pulls: arro3 writes a file that is larger than memory only from an iterator of
record batches. So parsing is a generator, which the writer advances. Rejected lines are written and
everything is counted on the way; the counts are complete when the writer returns.

Libraries: msgspec decodes and checks a reading in less time than polars or DuckDB need to read it
unchecked; arro3 writes Parquet and has a fifth of pyarrow's size; isal gunzips in half of zlib's
time. Together they are imported in a tenth of pandas' time. ``tests/bench/parser.py`` measures it.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from arro3.core import RecordBatch

from contracts import Contract
from telemetry_parser.decoder import ONE_IN, ReadingDecoder, UnknownFields
from telemetry_parser.message import (
    NO_ENVELOPE,
    Envelope,
    Expander,
    Origin,
    Origins,
    decode_line,
    decode_lines,
)
from telemetry_parser.parquet import write
from telemetry_parser.raw import RawLines, Readable
from telemetry_parser.rejections import MessageError, ReasonClass, RejectedWriter, Rejection
from telemetry_parser.rows import Rows
from telemetry_parser.settings import Limits

_LINE_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseResult:
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
    ) -> ParseResult:
        """Read ``raw`` to its end and write what it holds to the two files.

        A file is made only if something goes into it. Rows and rejected lines name ``raw_key`` as
        their source.

        Raises:
            ObjectError: The object cannot be read to its end; the files are not to be used.
        """
        with RejectedWriter(rejected_path, raw_key) as rejected, _no_garbage_collection():
            run = _Run(self.contract, self._limits, self._decoder, raw_key, rejected)
            lines = RawLines(raw, self._limits)
            parquet_bytes = write(parquet_path, self.contract, run.batches(lines))
        return ParseResult(
            raw_key=raw_key,
            lines=run.lines,
            blank_lines=run.blank_lines,
            messages_parsed=run.messages_parsed,
            messages_rejected=run.messages_rejected,
            readings_parsed=run.readings_parsed,
            readings_rejected=run.rejected_by.total(),
            rejected_by=dict(run.rejected_by),
            raw_bytes=lines.size,
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
    """The parsing of one object, and what it has counted so far."""

    def __init__(
        self,
        contract: Contract,
        limits: Limits,
        decoder: ReadingDecoder,
        raw_key: str,
        rejected: RejectedWriter,
    ) -> None:
        self._decoder = decoder
        self._rejected = rejected
        self.rows = Rows(contract, raw_key)
        self._origins = Origins(contract.channel)
        self._expander = Expander(limits)
        self._room_for_repeats = limits.max_rejected_bytes
        self.unknown_fields = UnknownFields(contract)
        self.lines = self.blank_lines = 0
        self.messages_parsed = self.messages_rejected = 0
        self.readings_parsed = 0
        self.rejected_by: Counter[ReasonClass] = Counter()
        self.payload_bytes = 0

    def batches(self, blocks: RawLines) -> Iterator[RecordBatch]:
        """Yield the rows, and write the rejected lines."""
        for lines in blocks:
            start = self.lines + 1
            self.lines += len(lines)
            envelopes = decode_lines(lines)
            others = self._take_singles(start, envelopes)
            if self.rows.are_enough:
                yield self.rows.batch()
            for place in others:
                self._take_line(start + place, lines[place], envelopes[place])
                if self.rows.are_enough:
                    yield self.rows.batch()
        if self.rows:
            yield self.rows.batch()

    def _take_singles(self, start: int, envelopes: Sequence[Envelope]) -> Sequence[int]:
        """Take in the messages of one good reading each, as most are.

        Done for a block of lines at a time, this takes a third of the time.

        Args:
            start: Number of the block's first line.
            envelopes: Of all lines of the block.

        Returns:
            The places of the other lines in the block.
        """
        payloads = [envelope.payload for envelope in envelopes]
        size = sum(map(len, payloads))
        readings = self._decoder.decode_singles(payloads, size=size)
        topics = [envelope.topic for envelope in envelopes]
        origins = list(map(self._origins.__getitem__, topics))
        arrivals = [envelope.received_at for envelope in envelopes]
        numbers = list(range(start, start + len(envelopes)))
        others: list[int] = []
        if not (all(readings) and all(origins)):
            pairs = enumerate(zip(readings, origins, strict=True))
            others = [place for place, (reading, origin) in pairs if not (reading and origin)]
            size -= sum(len(payloads[place]) for place in others)
            for values in (payloads, readings, origins, arrivals, numbers):
                for place in reversed(others):
                    del values[place]
        if readings:
            for payload in payloads[-self.messages_parsed % ONE_IN :: ONE_IN]:
                self.unknown_fields.sample(payload)
            self._count(len(readings), len(readings), size)
            known = cast("list[Origin]", origins)  # since all of them are true
            self.rows.add_singles(readings, known, arrivals, numbers, size=size)
        return others

    def _take_line(self, number: int, line: bytes, envelope: Envelope) -> None:
        """Take in any line: a message, or what is none."""
        if envelope is NO_ENVELOPE and not line.strip(_LINE_SPACE):
            self.blank_lines += 1
            return
        known = None if envelope is NO_ENVELOPE else envelope
        try:
            self._take_message(number, line, known or decode_line(line))
        except MessageError as error:
            self.messages_rejected += 1
            self._reject(number, line, known, error.rejection)

    def _take_message(self, number: int, line: bytes, envelope: Envelope) -> None:
        """Take in the readings of one message that fit, and reject the others.

        Raises:
            MessageError: The message is rejected whole.
        """
        origin = self._origins[envelope.topic]
        if origin is None:
            form = self._origins.form
            raise MessageError(ReasonClass.TOPIC, f"expected a topic of the form {form}")
        payload = self._expander.expand(envelope.payload)
        most = 1 + self._room_for_repeats // len(line)
        readings = self._decoder.decode(payload, most_rejections=most)
        self._room_for_repeats -= len(line) * max(0, len(readings.rejections) - 1)
        for rejection in readings.rejections:
            self._reject(number, line, envelope, rejection)
        if self.messages_parsed % ONE_IN == 0:
            self.unknown_fields.sample(payload)
        self._count(1, len(readings.values), len(payload))
        if readings.values:
            self.rows.add_message(readings, envelope, origin, number, size=len(payload))

    def _count(self, messages: int, readings: int, payload_bytes: int) -> None:
        self.messages_parsed += messages
        self.readings_parsed += readings
        self.payload_bytes += payload_bytes

    def _reject(
        self, number: int, line: bytes, envelope: Envelope | None, rejection: Rejection
    ) -> None:
        origin = self._origins[envelope.topic] if envelope else None
        self.rejected_by[rejection.reason_class] += 1
        self._rejected.write(
            line,
            number,
            rejection,
            thing_name=origin.thing_name if origin else None,
            received_at=envelope.received_at if envelope else None,
        )
