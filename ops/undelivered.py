"""Read what could not be delivered, as AWS kept it, and turn it into raw lines.

Pure: bytes in, values out. A raw line is what the topic rule would have made of the message; see
``stacks/constructs/iot_ingest.py``.
"""

import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_GZIP_MAGIC = b"\x1f\x8b"
_SPACE = re.compile(r"\s*")
# Basic Ingest's prefix is not part of the topic that a rule sees.
_BASIC_INGEST = re.compile(r"\$aws/rules/[^/]+/")


class NotUnderstood(ValueError):  # noqa: N818  # reads as what happened
    """A document has not the form that AWS documents; the message says why."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one object holds.

    Attributes:
        lines: Raw lines, one per message, without line feeds.
        error: Why AWS could not deliver the newest of them; None if it does not say.
    """

    lines: list[bytes]
    error: str | None


def read(key: str, content: bytes, written_at: datetime) -> Content:
    """Read an object under ``undelivered/`` or ``failed/``.

    Args:
        key: The object's key.
        content: The object.
        written_at: When it was written. An error action's document has no time, so this becomes
            the message's time of arrival.

    Raises:
        NotUnderstood: Nothing of the object is to be recovered.
    """
    try:
        text = (gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content).decode()
    except (OSError, EOFError, zlib.error):
        raise NotUnderstood("expected whole gzip") from None
    except UnicodeDecodeError:
        raise NotUnderstood("expected JSON, got bytes that are not UTF-8") from None
    documents = list(_documents(text))
    if key.startswith("undelivered/"):
        lines = [_of_error_action(document, written_at) for document in documents]
        errors = [_path(document, "failures", 0, "errorMessage") for document in documents]
    else:
        lines = [line for document in documents for line in _of_firehose(document)]
        errors = [
            _path(document, "errorMessage") or _path(document, "ErrorMessage")
            for document in documents
        ]
    if not lines:
        raise NotUnderstood("expected at least one message, got none")
    error = errors[-1]
    return Content(lines, " ".join(error.split()) if isinstance(error, str) else None)


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield JSON documents, which follow each other with or without space between them."""
    decoder = json.JSONDecoder()
    position = _after_space(text, 0)
    number = 0
    while position < len(text):
        number += 1
        try:
            document, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            raise NotUnderstood(f"document {number}: expected JSON") from None
        if not isinstance(document, dict):
            raise NotUnderstood(f"document {number}: expected a JSON object")
        yield document
        position = _after_space(text, position)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _of_error_action(document: dict[str, Any], written_at: datetime) -> bytes:
    """The raw line of an error action's document.

    See https://docs.aws.amazon.com/iot/latest/developerguide/rule-error-handling.html
    """
    topic = document.get("topic")
    if not isinstance(topic, str):
        raise NotUnderstood("expected the error document of a topic rule, got one without topic")
    payload = _base64(document, "base64OriginalPayload")
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "topic": _BASIC_INGEST.sub("", topic, count=1) if topic.startswith("$") else topic,
        "client_id": _text(document, "clientId"),
        "certificate_id": None,  # the document does not name it
        "received_at": int(written_at.timestamp() * 1000),
        "trace_id": _text(document, "cloudwatchTraceId"),
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def _of_firehose(document: dict[str, Any]) -> list[bytes]:
    """The raw lines of one record that Firehose gave up: the same bytes as it was given.

    See https://docs.aws.amazon.com/firehose/latest/dev/data-transformation-failure-handling.html
    """
    return [line for line in _base64(document, "rawData").split(b"\n") if line.strip()]


def _base64(document: dict[str, Any], name: str) -> bytes:
    value = document.get(name)
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:
        pass
    raise NotUnderstood(f"expected base64 in {name}")


def _text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None


def _path(document: Any, *steps: str | int) -> Any:
    try:
        for step in steps:
            document = document[step]
    except (LookupError, TypeError):
        return None
    return document
