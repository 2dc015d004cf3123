"""Split a raw object into lines, and a line into the message that AWS IoT Core received.

Pure: bytes in, values out.
"""

import io
import re
import zlib
from collections.abc import Iterator
from typing import Annotated, Protocol

import msgspec
from isal import igzip, igzip_lib, isal_zlib

from contracts import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from contracts.names import ENVIRONMENT_PATTERN, THING_NAME_PATTERN
from telemetry_parser.limits import Limits, ObjectError
from telemetry_parser.reasons import MessageError, ReasonClass, describe

_BLOCK_BYTES = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ERRORS: tuple[type[Exception], ...] = (
    EOFError,
    igzip.BadGzipFile,
    igzip_lib.IsalError,
    zlib.error,
)


class Envelope(msgspec.Struct, gc=False):
    """One MQTT message with what AWS IoT Core knows of it; see the topic rule's SQL.

    Attributes:
        payload: As published; base64 in the raw line.
        received_at: Milliseconds since the Unix epoch.
    """

    payload: bytes
    topic: str
    received_at: Annotated[int, msgspec.Meta(ge=TIMESTAMP_MS_MIN, le=TIMESTAMP_MS_MAX)]
    client_id: str | None = None
    certificate_id: str | None = None
    trace_id: str | None = None


_decode = msgspec.json.Decoder(Envelope).decode


class Readable(Protocol):
    """A binary stream, such as an open file or the body of an S3 response."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none at the end."""


def read_lines(raw: Readable, limits: Limits) -> Iterator[list[bytes]]:
    r"""Yield the lines of a raw object, block by block, without their ``\n``.

    Only ``\n`` ends a line; the last one need not have it. gzip is recognised by its magic
    bytes and read through all its members, zero padding between and after them allowed;
    anything else is taken as plain text.

    Raises:
        ObjectError: The gzip is cut short or corrupt, or a limit is exceeded.
    """
    start = raw.read(len(_GZIP_MAGIC))
    source: Readable = io.BufferedReader(_Rejoined(start, raw), _BLOCK_BYTES)
    if start == _GZIP_MAGIC:
        source = igzip.IGzipFile(fileobj=source, mode="rb")  # type: ignore[no-untyped-call]  # isal does not annotate it
    size, tail = 0, b""
    while block := _read(source):
        size += len(block)
        if size > limits.max_object_bytes:
            raise ObjectError(
                f"expected at most {limits.max_object_bytes:,} bytes after gunzip, "
                "got more; raise MAX_OBJECT_BYTES"
            )
        lines = (tail + block).split(b"\n")
        if max(map(len, lines)) > limits.max_line_bytes:
            raise ObjectError(
                f"expected lines of at most {limits.max_line_bytes:,} bytes, "
                "got a longer one; raise MAX_LINE_BYTES"
            )
        tail = lines.pop()
        yield lines
    if tail:
        yield [tail]


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


def _read(source: Readable) -> bytes:
    try:
        return source.read(_BLOCK_BYTES)
    except _GZIP_ERRORS as error:
        raise ObjectError(f"expected whole gzip, got {error}") from error


def decode_line(line: bytes) -> Envelope:
    """Read one raw line.

    Raises:
        MessageError: It is not an envelope.
    """
    try:
        if not line.isascii():
            line.decode()
        return _decode(line)
    except msgspec.ValidationError as error:
        reason, path = describe(error)
        raise MessageError(ReasonClass.LINE, f"not an envelope: {reason} at {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MessageError(ReasonClass.LINE, "not an envelope: expected one JSON object") from None


class Topics:
    """Tells the device from the topic ``dt/{env}/{thing}/{channel}[/{customer}]``."""

    def __init__(self, channel: str) -> None:
        self._form = f"dt/{{env}}/{{thing}}/{channel}[/{{customer}}]"
        self._match = re.compile(
            rf"dt/{ENVIRONMENT_PATTERN}/({THING_NAME_PATTERN})/{channel}(?:/[^/]+)?"
        ).fullmatch
        self._known: dict[str, str] = {}

    def thing_name(self, topic: str) -> str:
        """Return the topic's third level.

        Raises:
            MessageError: The topic is not of that form.
        """
        known = self._known.get(topic)
        if known is not None:
            return known
        match = self._match(topic)
        if match is None:
            raise MessageError(ReasonClass.TOPIC, f"expected a topic of the form {self._form}")
        if len(self._known) >= 100_000:  # a batch's devices; only a forged one has more
            self._known.clear()
        return self._known.setdefault(topic, match[1])


class Expander:
    """Gunzips payloads, within the limits of a message and of the whole object."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.expanded_bytes = 0

    def expand(self, payload: bytes) -> bytes:
        """Return ``payload``, gunzipped if it begins with gzip's magic bytes.

        Raises:
            MessageError: It is not whole gzip, or larger than a limit.
        """
        if not payload.startswith(_GZIP_MAGIC):
            return self._within("MAX_MESSAGE_BYTES", self._limits.max_message_bytes, payload)
        room = self._limits.max_object_bytes - self.expanded_bytes
        if room < self._limits.max_message_bytes:
            content = self._within("MAX_OBJECT_BYTES", room, _gunzip(payload, room + 1))
        else:
            limit = self._limits.max_message_bytes
            content = self._within("MAX_MESSAGE_BYTES", limit, _gunzip(payload, limit + 1))
        self.expanded_bytes += len(content)
        return content

    @staticmethod
    def _within(name: str, limit: int, content: bytes) -> bytes:
        if len(content) > limit:
            raise MessageError(ReasonClass.LIMIT, f"expected at most {name}, {limit:,} bytes")
        return content


def _gunzip(payload: bytes, length: int) -> bytes:
    try:
        # One member, as nearly every payload is, takes a quarter of the time this way.
        member = isal_zlib.decompressobj(31)
        content = member.decompress(payload, length)
        if len(content) < length and not (member.eof and not member.unused_data):
            file = igzip.IGzipFile(fileobj=io.BytesIO(payload))  # type: ignore[no-untyped-call]  # isal does not annotate it
            content = file.read(length)
    except _GZIP_ERRORS:
        raise MessageError(ReasonClass.GZIP, "payload: expected whole gzip") from None
    return content
