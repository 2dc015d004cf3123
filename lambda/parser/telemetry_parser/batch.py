"""Parse one raw object: every line of it ends up in the Parquet file or in the rejected one.

Pure but for the two files it is told to write; the Lambda function and ``ops.parse`` share it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arro3.core import RecordBatch

from contracts import Contract
from telemetry_parser import parquet
from telemetry_parser.envelope import (
    Envelope,
    Expander,
    Readable,
    Topics,
    decode_line,
    read_lines,
)
from telemetry_parser.limits import Limits
from telemetry_parser.readings import ReadingDecoder
from telemetry_parser.reasons import MessageError, ReasonClass, Rejection
from telemetry_parser.rejected import RejectedWriter
from telemetry_parser.unknown_fields import UnknownFields

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
        oldest_received_at: First arrival among the messages, ms since the Unix epoch.
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

    @property
    def readings(self) -> int:
        """All readings, parsed and rejected."""
        return self.readings_parsed + self.readings_rejected


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
        with RejectedWriter(rejected_path, raw_key) as rejected:
            run = _Run(self.contract, self._limits, self._decoder, raw_key, rejected)
            parquet_bytes = parquet.write(parquet_path, self.contract, run.batches(raw))
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
            oldest_received_at=run.oldest_received_at,
            unknown_fields=run.unknown_fields.named,
            unknown_fields_unnamed=run.unknown_fields.unnamed,
        )


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
        self._rows = parquet.Rows(contract, raw_key)
        self._topics = Topics(contract.channel)
        self._expander = Expander(limits)
        self._room_for_repeats = limits.max_rejected_bytes
        self.unknown_fields = UnknownFields(contract)
        self.lines = self.blank_lines = 0
        self.messages_parsed = self.messages_rejected = 0
        self.readings_parsed = 0
        self.rejected_by: Counter[ReasonClass] = Counter()
        self.raw_bytes = self.payload_bytes = 0
        self.oldest_received_at: int | None = None

    def batches(self, raw: Readable) -> Iterator[RecordBatch]:
        """Yield the rows, and write the rejected lines."""
        for block in read_lines(raw, self._limits):
            for line in block:
                self.lines += 1
                self.raw_bytes += len(line) + 1
                yield from self._message(line)
        yield from self._rows.rest()

    def _message(self, line: bytes) -> Iterable[RecordBatch]:
        try:
            envelope = decode_line(line)
            thing_name = self._topics.thing_name(envelope.topic)
            payload = self._expander.expand(envelope.payload)
            most = 1 + self._room_for_repeats // len(line)
            readings = self._decoder.decode(payload, most_rejections=most)
        except MessageError as error:
            if not line.strip(_LINE_SPACE):
                self.blank_lines += 1
            else:
                self.messages_rejected += 1
                self._reject(line, error.rejection)
            return ()
        self.messages_parsed += 1
        self.payload_bytes += len(payload)
        self.readings_parsed += len(readings.values)
        if self.oldest_received_at is None or envelope.received_at < self.oldest_received_at:
            self.oldest_received_at = envelope.received_at
        self._room_for_repeats -= len(line) * max(0, len(readings.rejections) - 1)
        for rejection in readings.rejections:
            self._reject(line, rejection)
        self.unknown_fields.sample(payload)
        message_id = _message_id(envelope)
        envelope.payload = b""  # it may be large, and is not needed any more
        message = parquet.Message(
            envelope, self.lines, message_id, readings.values, readings.indexes
        )
        return self._rows.add(thing_name, message, len(payload))

    def _reject(self, line: bytes, rejection: Rejection) -> None:
        self.rejected_by[rejection.reason_class] += 1
        self._rejected.write(line, self.lines, rejection)


def _message_id(envelope: Envelope) -> str:
    """128 bits that tell a message from every other, and are the same when it is redelivered."""
    content = b"\0".join((envelope.topic.encode(), envelope.payload))
    return hashlib.blake2b(content, digest_size=16).hexdigest()
