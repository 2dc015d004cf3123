"""Read the raw line in a rejected line: which device sent it, its payload, and when it arrived.

The parser rejected the line, so it may contain anything.
"""

import base64
import json
import zlib
from datetime import UTC, datetime
from typing import Any

from contracts.packed import is_packed, split

_GZIP_MAGIC = b"\x1f\x8b"
_MOST_BYTES = 8 * 2**20


def envelope_of(line: str) -> dict[str, Any]:
    """The envelope in a raw line, which is in base64; empty if it has no envelope."""
    try:
        found = json.loads(base64.b64decode(line, validate=True))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def thing_of(topic: object) -> str | None:
    """The thing name in a topic; None if the topic has another form."""
    levels = topic.split("/") if isinstance(topic, str) else []
    return levels[2] if len(levels) > 3 else None


def time_of(received_at: object) -> str | None:
    """The time of arrival in Athena's form; None if ``received_at`` is not milliseconds."""
    try:
        moment = datetime.fromtimestamp(received_at / 1000, UTC)  # type: ignore[operator]  # caught
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def payload_of(line: str, reading_index: int | None) -> str:
    r"""The payload in a raw line, or the one reading of it that was rejected.

    Args:
        line: The raw line in base64. If it cannot be decoded, it is returned as it is.
        reading_index: 0-based index of the reading in an array; None for the whole payload.

    Returns:
        Text in which bytes that are not UTF-8 appear as ``\xNN``. It may hold control characters.
    """
    payload = _payload(line)
    if payload.startswith(_GZIP_MAGIC):
        payload = _gunzip(payload)
    if reading_index is not None:
        payload = _element(payload, reading_index)
    return payload.decode("utf-8", "backslashreplace")


def _payload(line: str) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except ValueError:
        return line.encode()
    try:
        return base64.b64decode(envelope_of(line)["payload"], validate=True)
    except (ValueError, LookupError, TypeError):  # no envelope
        return raw


def _gunzip(payload: bytes) -> bytes:
    """The unzipped payload up to the first damage; or the payload if there is nothing."""
    try:
        return zlib.decompressobj(31).decompress(payload, _MOST_BYTES) or payload
    except zlib.error:
        return payload


def _element(payload: bytes, index: int) -> bytes:
    """The element of an array, unchanged; the payload itself if it is not such an array."""
    try:
        return list(split(payload))[index].strip() if is_packed(payload) else payload
    except (ValueError, IndexError):
        return payload
