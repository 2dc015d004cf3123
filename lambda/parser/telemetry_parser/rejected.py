"""What was set aside: one JSON line a rejection, gzip, the raw line in it verbatim."""

import io
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from isal import igzip

from telemetry_parser.rejections import Rejection

_BUFFER_BYTES = 64 * 1024


class RejectedLine(msgspec.Struct):
    """One line of a rejected object; ``contracts.REJECTED_FIELDS`` describes its fields."""

    reason: str
    path: str | None
    raw_key: str
    raw_line: int
    reading_index: int | None
    line: bytes  # base64 in JSON


class RejectedWriter:
    """Writes rejected lines to a file, which is made when there is a first one."""

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

    def write(self, line: bytes, raw_line: int, rejection: Rejection) -> None:
        """Add one line of the raw object, which is its ``raw_line``-th."""
        if self._file is None:
            # No time stamp in the header: the same input makes the same bytes.
            compressed = igzip.IGzipFile(str(self._path), "wb", compresslevel=1, mtime=0)  # type: ignore[no-untyped-call]  # isal does not annotate it
            self._file = io.BufferedWriter(compressed, _BUFFER_BYTES)
        record = RejectedLine(
            rejection.reason,
            rejection.path,
            self._raw_key,
            raw_line,
            rejection.reading_index,
            line,
        )
        self._file.write(self._encode(record) + b"\n")
