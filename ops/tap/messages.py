"""Read what passes a hop: messages, rows and rejected readings. Pure.

A device's message may hold anything. Each message becomes one ``Tapped``, a bad one too.
"""

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from contracts import ROW_FIELDS, Contract
from contracts.reading import ReadingChecker
from ops import raw_lines

# A message may hold many readings; so many are checked.
_MOST_CHECKED = 1000
_MOST_LEVELS = 50
_ROW_COLUMNS = frozenset(field.name for field in ROW_FIELDS)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a reading does not fit the contract.

    Attributes:
        reading_index: Its place in the message, from 0; None if it is the whole message.
        path: JSON path of the bad field; None if no single field is at fault.
    """

    reading_index: int | None
    reason: str
    path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tapped:
    """One message, row or rejected reading.

    Attributes:
        hop: ``message``, ``raw``, ``parsed`` or ``rejected``.
        via: ``mqtt`` or ``s3``.
        time: When the message arrived; None if that cannot be told.
        payload: Decoded; None if ``error`` says why it is not.
        text: What could not be decoded.
        raw_key, raw_line: Where the message is in the raw bucket; None via MQTT.
    """

    hop: str
    via: str
    time: datetime | None = None
    thing_name: str | None = None
    customer: str | None = None
    topic: str | None = None
    payload: Any = None
    error: str | None = None
    text: str | None = None
    faults: tuple[Fault, ...] = ()
    raw_key: str | None = None
    raw_line: int | None = None


class Reader:
    """Reads what passes the hops of one channel."""

    def __init__(self, contract: Contract) -> None:
        self._checker = ReadingChecker(contract)

    def message(self, topic: str, payload: bytes, arrived: datetime) -> Tapped:
        """A message as a subscriber gets it."""
        line = json.dumps(
            {
                "payload": base64.b64encode(payload).decode(),
                "topic": topic,
                "received_at": round(arrived.timestamp() * 1000),
            }
        )
        return self._of_line(line.encode(), "message", "mqtt")

    def raw_line(self, hop: str, line: bytes, raw_key: str, number: int) -> Tapped:
        """A line of a raw object; it may be no envelope."""
        return replace(self._of_line(line, hop, "s3"), raw_key=raw_key, raw_line=number)

    def _of_line(self, line: bytes, hop: str, via: str) -> Tapped:
        tapped = _shown(line, hop, via)
        return tapped if tapped.error is not None else replace(tapped, faults=self._faults(tapped))

    def _faults(self, tapped: Tapped) -> tuple[Fault, ...]:
        payload = tapped.payload
        if payload == []:
            return (Fault(None, "expected a reading, got an empty array", None),)
        readings = payload if isinstance(payload, list) else [payload]
        found = (
            self._fault(index, reading) for index, reading in enumerate(readings[:_MOST_CHECKED])
        )
        return tuple(fault for fault in found if fault is not None)

    def _fault(self, index: int, reading: Any) -> Fault | None:
        try:
            self._checker.one.decode(json.dumps(reading))
        except msgspec.ValidationError as error:
            reason, path = self._checker.violation(error)
            return Fault(index, reason, path)
        except (msgspec.DecodeError, RecursionError):
            return Fault(index, "expected JSON", None)
        return None


def row(values: dict[str, Any]) -> Tapped:
    """A row of a parsed object."""
    fields = {name: value for name, value in values.items() if name not in _ROW_COLUMNS}
    return Tapped(
        hop="parsed",
        via="s3",
        time=_moment(values.get("received_at")),
        thing_name=values.get("thing_name"),
        customer=values.get("customer"),
        payload=fields,
        raw_key=values.get("raw_key"),
        raw_line=values.get("raw_line"),
    )


def rejected(line: bytes) -> Tapped:
    """A line of a rejected object, with the reading that was rejected."""
    try:
        document = json.loads(line)
        content = base64.b64decode(document["line"], validate=True)
        index, path = document["reading_index"], document["path"]
        index = index if isinstance(index, int) and index >= 0 else None
        fault = Fault(index, str(document["reason"]), None if path is None else str(path))
        place = str(document["raw_key"]), int(document["raw_line"])
    except (ValueError, LookupError, TypeError, RecursionError):
        text = line.decode("utf-8", "backslashreplace")
        return Tapped(hop="rejected", via="s3", error="not a rejected line", text=text)
    tapped = replace(
        _shown(content, "rejected", "s3"),
        faults=(fault,),
        raw_key=place[0],
        raw_line=place[1],
    )
    if isinstance(tapped.payload, list) and index is not None and index < len(tapped.payload):
        return replace(tapped, payload=tapped.payload[index])
    return tapped


def _shown(line: bytes, hop: str, via: str) -> Tapped:
    shown: dict[str, Any] = raw_lines.shown(line)
    if _is_deep(shown.get("payload")):
        del shown["payload"]
        shown["error"] = f"payload: nested more than {_MOST_LEVELS} levels deep"
    return Tapped(
        hop=hop,
        via=via,
        time=_moment(shown.get("received_at")),
        thing_name=shown.get("thing_name"),
        customer=shown.get("customer"),
        topic=shown["topic"] if isinstance(shown.get("topic"), str) else None,
        payload=shown.get("payload"),
        error=shown.get("error"),
        text=shown.get("text"),
    )


def _is_deep(payload: Any) -> bool:
    """Whether it is nested so deeply that code which calls itself could not handle it."""
    level = [payload]
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.fromisoformat(value) if isinstance(value, str) else None
