"""Split a raw object into lines, and a line into the message that AWS IoT Core received.

Pure: bytes in, values out.
"""

import io
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Protocol

import msgspec
from isal import igzip, igzip_lib, isal_zlib

from contracts import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from contracts.names import ENVIRONMENT_PATTERN, THING_NAME_PATTERN
from contracts.reading import check_utf8, describe
from telemetry_parser.limits import Limits, ObjectError
from telemetry_parser.rejections import MessageError, ReasonClass
from telemetry_parser.together import decode_together

# Smaller than the blocks that malloc requests from the kernel one by one, which is slow.
_BLOCK_BYTES = 64 * 1024
_MOST_TOPICS = 100_000  # about 30 MB; more devices in one batch are unlikely
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ERRORS: tuple[type[Exception], ...] = (  # type: ignore[assignment]  # isal's has no type
    EOFError,
    igzip.BadGzipFile,
    igzip_lib.IsalError,
    zlib.error,
)


# AWS IoT Core's own limits are 256 bytes or less. Every row repeats these values, so a forged line
# with a longer one could fill the memory.
_Name = Annotated[str, msgspec.Meta(max_length=256)]


class Envelope(msgspec.Struct, gc=False):
    """One MQTT message and what AWS IoT Core knows about it; see the topic rule's SQL.

    Attributes:
        payload: As published; base64 in the raw line.
        received_at: Milliseconds since the Unix epoch.
    """

    payload: bytes
    topic: _Name
    received_at: Annotated[int, msgspec.Meta(ge=TIMESTAMP_MS_MIN, le=TIMESTAMP_MS_MAX)]
    client_id: _Name | None = None
    certificate_id: _Name | None = None
    trace_id: _Name | None = None


_decoder = msgspec.json.Decoder(Envelope)


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
            lines = (tail + block).split(b"\n")
            if max(map(len, lines)) > self._limits.max_line_bytes:
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


def decode_lines(lines: Sequence[bytes]) -> list[Envelope] | None:
    """Read raw lines in one pass; None if they have to be read one by one."""
    return decode_together(_decoder, lines)


def decode_line(line: bytes) -> Envelope:
    """Read one raw line.

    Raises:
        MessageError: It is not an envelope.
    """
    try:
        check_utf8(line)
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        reason, path = describe(str(error))
        raise MessageError(ReasonClass.LINE, f"not an envelope: {reason} at {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MessageError(ReasonClass.LINE, "not an envelope: expected one JSON object") from None


class Device(NamedTuple):
    """The device that a topic belongs to.

    Attributes:
        thing_name: The topic's third level.
        topic: The whole topic, as bytes; message ids are made from it.
    """

    thing_name: str
    topic: bytes


class Topics(dict[str, Device]):
    """Finds the device of a topic of the form ``dt/{env}/{thing}/{channel}[/{customer}]``.

    Indexing with any other topic raises ``MessageError``.
    """

    def __init__(self, channel: str) -> None:
        super().__init__()
        self._form = f"dt/{{env}}/{{thing}}/{channel}[/{{customer}}]"
        self._match = re.compile(
            rf"dt/{ENVIRONMENT_PATTERN}/({THING_NAME_PATTERN})/{channel}(?:/[^/]+)?"
        ).fullmatch

    def __missing__(self, topic: str) -> Device:
        match = self._match(topic)
        if match is None:
            raise MessageError(ReasonClass.TOPIC, f"expected a topic of the form {self._form}")
        if len(self) >= _MOST_TOPICS:
            self.clear()
        return self.setdefault(topic, Device(match[1], topic.encode()))


class Expander:
    """Gunzips payloads, within the limits of a message and of the whole object."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.expanded_bytes = 0

    def expand(self, payload: bytes) -> bytes:
        """Return what ``payload``, which begins with ``GZIP_MAGIC``, holds.

        Raises:
            MessageError: It is not whole gzip, or larger than a limit.
        """
        room = self._limits.max_object_bytes - self.expanded_bytes
        limit = min(room, self._limits.max_message_bytes)
        content = _gunzip(payload, limit + 1)
        if len(content) > limit:
            if limit == room:
                raise _too_large("what MAX_OBJECT_BYTES leaves", self._limits.max_object_bytes)
            raise _too_large("MAX_MESSAGE_BYTES", limit)
        self.expanded_bytes += len(content)
        return content


def _too_large(what: str, limit: int) -> MessageError:
    return MessageError(ReasonClass.LIMIT, f"expected at most {what}, {limit:,} bytes")


def _gunzip(payload: bytes, length: int) -> bytes:
    try:
        # Nearly every payload is one member, and this takes a quarter of the time for it.
        member = isal_zlib.decompressobj(31)
        content = member.decompress(payload, length)
        if len(content) < length and not (member.eof and not member.unused_data):
            file = igzip.IGzipFile(fileobj=io.BytesIO(payload))  # type: ignore[no-untyped-call]  # isal does not annotate it
            content = file.read(length)
    except _GZIP_ERRORS:
        raise MessageError(ReasonClass.GZIP, "payload: expected whole gzip") from None
    return content
