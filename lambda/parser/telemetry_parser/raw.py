"""Read a raw object: gunzip it and split it into lines.

Pure: bytes in, values out.
"""

import io
import zlib
from collections.abc import Iterator
from typing import Protocol

from isal import igzip, igzip_lib, isal_zlib

from telemetry_parser.settings import Limits

# Smaller than the blocks that malloc requests from the kernel one by one, which is slow.
_BLOCK_BYTES = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ERRORS: tuple[type[Exception], ...] = (  # type: ignore[assignment]  # isal's has no type
    EOFError,
    igzip.BadGzipFile,
    igzip_lib.IsalError,
    zlib.error,
)


class ObjectError(ValueError):
    """A raw object cannot be read to its end, so none of it is parsed; the message says why."""


class Readable(Protocol):
    """A binary stream, such as an open file or the body of an S3 response."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


class RawLines:
    r"""The lines of a raw object, block by block, without their ``\n``.

    Only ``\n`` ends a line; the last one need not have it. gzip is recognised by its magic
    bytes and read through all its members, zero padding between and after them allowed;
    anything else is taken as plain text.

    Attributes:
        size: Bytes read so far, after gunzip.
    """

    def __init__(self, raw: Readable, limits: Limits) -> None:
        self._raw = raw
        self._limits = limits
        self.size = 0

    def __iter__(self) -> Iterator[list[bytes]]:
        """Read it once, from the beginning.

        Raises:
            ObjectError: The gzip is cut short or corrupt, or a limit is exceeded.
        """
        tail = b""
        for block in self._blocks():
            text = tail + block
            lines = text.split(b"\n")
            longest = self._limits.max_line_bytes
            if len(text) > longest < max(map(len, lines)):
                raise ObjectError(
                    f"expected lines of at most {self._limits.max_line_bytes:,} bytes, "
                    "got a longer one; raise MAX_LINE_BYTES"
                )
            tail = lines.pop()
            yield lines
        if tail:
            yield [tail]

    def _blocks(self) -> Iterator[bytes]:
        start = self._raw.read(len(GZIP_MAGIC))
        source: Readable = io.BufferedReader(_Rejoined(start, self._raw), _BLOCK_BYTES)
        if start == GZIP_MAGIC:
            source = igzip.IGzipFile(fileobj=source, mode="rb")  # type: ignore[no-untyped-call]  # isal has no types
        try:
            while block := source.read(_BLOCK_BYTES):
                self.size += len(block)
                if self.size > self._limits.max_object_bytes:
                    raise ObjectError(
                        f"expected at most {self._limits.max_object_bytes:,} bytes after gunzip, "
                        "got more; raise MAX_OBJECT_BYTES"
                    )
                yield block
        except _GZIP_ERRORS as error:
            raise ObjectError(f"expected whole gzip, got: {error}") from error


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read to see what it is; a response cannot seek back."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self._unread = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # all that callers pass
        content, self._unread = self._unread or self._rest.read(len(buffer)), b""
        buffer[: len(content)] = content
        return len(content)


def gunzip(payload: bytes, length: int) -> bytes:
    """Return at most the first ``length`` bytes of what ``payload`` holds.

    Raises:
        ValueError: It is not whole gzip, as far as it was read.
    """
    try:
        # Nearly every payload is one member, and this takes a quarter of the time for it.
        member = isal_zlib.decompressobj(31)
        content = member.decompress(payload, length)
        if len(content) < length and not (member.eof and not member.unused_data):
            file = igzip.IGzipFile(fileobj=io.BytesIO(payload))  # type: ignore[no-untyped-call]  # isal does not annotate it
            content = file.read(length)
    except _GZIP_ERRORS as error:
        raise ValueError("expected whole gzip") from error
    return content
