"""Decode a raw line: the message that AWS IoT Core received, and whose it is.

Pure: bytes in, values out.
"""

import re
from typing import Annotated, NamedTuple

import msgspec

from contracts import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from contracts.names import ENVIRONMENT_PATTERN, THING_NAME_PATTERN
from contracts.reading import check_utf8, describe
from telemetry_parser.raw import GZIP_MAGIC, gunzip
from telemetry_parser.rejections import MessageError, ReasonClass
from telemetry_parser.settings import Limits

_MOST_TOPICS = 100_000  # about 30 MB; more devices in one batch are unlikely


class Envelope(msgspec.Struct, gc=False):
    """What the parser needs of a raw line; the topic rule's SQL makes the line.

    Attributes:
        payload: As published; base64 in the raw line.
        topic: The MQTT topic. AWS IoT Core allows 256 bytes. Rows repeat its parts, so a longer one
            in a forged line could fill the memory.
        received_at: Milliseconds since the Unix epoch.
    """

    payload: bytes
    topic: Annotated[str, msgspec.Meta(max_length=256)]
    received_at: Annotated[int, msgspec.Meta(ge=TIMESTAMP_MS_MIN, le=TIMESTAMP_MS_MAX)]


ENVELOPES = msgspec.json.Decoder(Envelope)


def decode_line(line: bytes) -> Envelope:
    """Decode one raw line.

    Raises:
        MessageError: It is not an envelope.
    """
    try:
        check_utf8(line)
        return ENVELOPES.decode(line)
    except msgspec.ValidationError as error:
        reason, path = describe(str(error))
        raise MessageError(ReasonClass.LINE, f"not an envelope: {reason} at {path}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MessageError(ReasonClass.LINE, "not an envelope: expected one JSON object") from None


class Origin(NamedTuple):
    """Whose message it is, as its topic says.

    Attributes:
        thing_name: The topic's third level.
        customer: The level after the channel; None without one.
    """

    thing_name: str
    customer: str | None


class Origins(dict[str, Origin | None]):
    """Finds the origin in a topic of the form ``dt/{env}/{thing}/{channel}[/{customer}]``.

    Indexing with any other topic gives None.
    """

    def __init__(self, channel: str) -> None:
        super().__init__()
        self.form = f"dt/{{env}}/{{thing}}/{channel}[/{{customer}}]"
        self._match = re.compile(
            rf"dt/{ENVIRONMENT_PATTERN}/({THING_NAME_PATTERN})/{channel}(?:/([^/]+))?"
        ).fullmatch

    def __missing__(self, topic: str) -> Origin | None:
        match = self._match(topic)
        if len(self) >= _MOST_TOPICS:
            self.clear()
        return self.setdefault(topic, match and Origin(match[1], match[2]))


class Expander:
    """Gunzips payloads, within the limits of a message and of the whole object."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._expanded_bytes = 0

    def expand(self, payload: bytes) -> bytes:
        """Return the content of ``payload`` if it is gzip, and else ``payload``.

        Raises:
            MessageError: It begins like gzip and is not whole gzip, or is larger than a limit.
        """
        if not payload.startswith(GZIP_MAGIC):
            return payload
        room = self._limits.max_object_bytes - self._expanded_bytes
        limit = min(room, self._limits.max_message_bytes)
        try:
            content = gunzip(payload, limit + 1)
        except ValueError as error:
            raise MessageError(ReasonClass.GZIP, f"payload: {error}") from None
        if len(content) > limit:
            if limit == room:
                raise _too_large("what MAX_OBJECT_BYTES leaves", self._limits.max_object_bytes)
            raise _too_large("MAX_MESSAGE_BYTES", limit)
        self._expanded_bytes += len(content)
        return content


def _too_large(what: str, limit: int) -> MessageError:
    return MessageError(ReasonClass.LIMIT, f"expected at most {what}, {limit:,} bytes")
