"""What was rejected and why, in words that never quote what a device sent.

The rejected file has one JSON line per rejection, with the raw line unchanged; gzip.
"""

import io
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from isal import igzip

_BUFFER_BYTES = 64 * 1024
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC, written without an offset


class ReasonClass(StrEnum):
    """The kinds of faults: few and fixed, so that metrics can count them."""

    LINE = "line"  # the raw line is not an envelope
    TOPIC = "topic"  # the topic is not one of this channel's
    GZIP = "gzip"  # the payload begins like gzip, and is not
    LIMIT = "limit"  # larger than a limit allows
    JSON = "json"  # the payload, or one reading of it, cannot be read as JSON
    CONTRACT = "contract"  # a reading does not fit the contract


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why one reading was rejected.

    Attributes:
        reason_class: For counting.
        reason: What was expected and found, without the device's values.
        path: JSON path of the first violation in the reading; None if no single value is at fault.
        reading_index: Its 0-based place in the message; None for the whole message.
    """

    reason_class: ReasonClass
    reason: str
    path: str | None = None
    reading_index: int | None = None


class MessageError(ValueError):
    """A whole message is rejected.

    Attributes:
        rejection: Why.
    """

    def __init__(self, reason_class: ReasonClass, reason: str) -> None:
        super().__init__(reason)
        self.rejection = Rejection(reason_class, reason)


class RejectedLine(msgspec.Struct):
    """One line of a rejected object; ``contracts.REJECTED_FIELDS`` describes its fields."""

    reason: str
    path: str | None
    thing_name: str | None
    received_at: str | None  # as Hive's JSON reader takes a timestamp
    raw_key: str
    raw_line: int
    reading_index: int | None
    line: bytes  # base64 in JSON


class RejectedWriter:
    """Writes rejected lines to a file; the first line creates it."""

    def __init__(self, path: Path, raw_key: str) -> None:
        self._path = path
        self._raw_key = raw_key
        self._file: io.BufferedWriter | None = None
        self._encode = msgspec.json.Encoder().encode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def size(self) -> int:
        """Bytes written, once it is closed; 0 if there is no file."""
        return 0 if self._file is None else self._path.stat().st_size

    def write(
        self,
        line: bytes,
        raw_line: int,
        rejection: Rejection,
        *,
        thing_name: str | None,
        received_at: int | None,
    ) -> None:
        """Add a rejection.

        Args:
            line: The raw line.
            raw_line: Its number in the raw object, from 1.
            rejection: Why it is rejected, or one reading of it.
            thing_name: The device; None if unknown.
            received_at: Milliseconds since the Unix epoch; None if unknown.
        """
        if self._file is None:
            # No time stamp in the header: the same input makes the same bytes.
            compressed = igzip.IGzipFile(str(self._path), "wb", compresslevel=1, mtime=0)  # type: ignore[no-untyped-call]  # isal does not annotate it
            self._file = io.BufferedWriter(compressed, _BUFFER_BYTES)
        record = RejectedLine(
            rejection.reason,
            rejection.path,
            thing_name,
            None if received_at is None else _timestamp(received_at),
            self._raw_key,
            raw_line,
            rejection.reading_index,
            line,
        )
        self._file.write(self._encode(record) + b"\n")


def _timestamp(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(" ", "milliseconds")
