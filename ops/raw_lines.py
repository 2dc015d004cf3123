"""Read raw lines: which device sent the message, its payload, and when it arrived.

A line may contain anything, and the parser may have rejected it.
"""

import base64
import json
import math
import zlib
from datetime import UTC, datetime
from typing import Any

from contracts.packed import is_packed, split

_GZIP_MAGIC = b"\x1f\x8b"
_MOST_BYTES = 8 * 2**20
_ENVELOPE = ("topic", "client_id", "certificate_id", "trace_id")


def envelope_of(line: str) -> dict[str, Any]:
    """The envelope in a raw line, which is in base64; empty if it has no envelope."""
    try:
        return decode_envelope(base64.b64decode(line, validate=True)) or {}
    except ValueError:
        return {}


def decode_envelope(line: bytes) -> dict[str, Any] | None:
    """The envelope that a raw line is; None if it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def thing_of(topic: object) -> str | None:
    """The thing name in a topic; None if the topic has another form."""
    levels = topic.split("/") if isinstance(topic, str) else []
    return levels[2] if len(levels) > 3 else None


def customer_of(topic: object) -> str | None:
    """The customer in a topic; None if it has none."""
    levels = topic.split("/") if isinstance(topic, str) else []
    return levels[4] if len(levels) > 4 else None


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
    payload, _ = _expanded(payload)
    if reading_index is not None:
        payload = _element(payload, reading_index)
    return _text(payload)


def _payload(line: str) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except ValueError:
        return line.encode()
    try:
        return base64.b64decode(envelope_of(line)["payload"], validate=True)
    except (ValueError, LookupError, TypeError):  # no envelope
        return raw


def _expanded(payload: bytes) -> tuple[bytes, str | None]:
    """The unzipped payload up to the first damage, and what is wrong with it."""
    if not payload.startswith(_GZIP_MAGIC):
        return payload, None
    content, rest = b"", payload
    try:
        while rest.startswith(_GZIP_MAGIC):  # gzip may have several members
            member = zlib.decompressobj(31)
            content += member.decompress(rest, _MOST_BYTES + 1 - len(content))
            if len(content) > _MOST_BYTES:
                return content[:_MOST_BYTES], f"more than {_MOST_BYTES:,} bytes after gunzip"
            if not member.eof:
                return content or payload, "the gzip is cut short"
            rest = member.unused_data.lstrip(b"\0")
    except zlib.error:
        return content or payload, "the gzip is damaged"
    return content, "something follows the gzip" if rest else None


def _element(payload: bytes, index: int) -> bytes:
    """The element of an array, unchanged; the payload itself if it is not such an array."""
    try:
        return list(split(payload))[index].strip() if is_packed(payload) else payload
    except (ValueError, IndexError):
        return payload


def shown(line: bytes) -> dict[str, object]:
    r"""A raw line as a person reads it.

    Returns:
        What the envelope says, and the payload: ``payload``, a JSON value equal to what the device
        sent, or else ``error`` and ``text``. In the text, bytes that are not UTF-8 appear as
        ``\xNN``. Of a line that is not an envelope there are only ``error`` and ``text``.
    """
    envelope = decode_envelope(line)
    try:
        payload = base64.b64decode((envelope or {})["payload"], validate=True)
    except (ValueError, LookupError, TypeError):
        return {"error": "not an envelope", "text": _text(line)}
    envelope = envelope or {}
    topic = envelope.get("topic")
    head = {
        "thing_name": thing_of(topic),
        "customer": customer_of(topic),
        "received_at": _with_zone(time_of(envelope.get("received_at"))),
        **{name: envelope.get(name) for name in _ENVELOPE},
    }
    content, damage = _expanded(payload)
    if damage is not None:
        return {**head, "error": f"payload: {damage}", "text": _text(content)}
    try:
        return {**head, "payload": _json(content)}
    except (ValueError, RecursionError):
        return {**head, "error": "payload: not whole JSON", "text": _text(content)}


def _json(content: bytes) -> Any:
    """Decode JSON; fail where the value would not be equal to what is written there."""
    return json.loads(
        content.decode(),
        object_pairs_hook=_unique,
        parse_constant=_refuse,
        parse_float=_finite,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name appears twice in one object")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _with_zone(time: str | None) -> str | None:
    return None if time is None else f"{time}Z"
