"""What the parser must make of a message, said a second time and as plainly as possible."""

import base64
import gzip
import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import (
    INT64_MAX,
    INT64_MIN,
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    Contract,
    Schema,
)
from contracts.patterns import to_python
from tests.unit.parser.examples import Outcome

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Misfit(Exception):  # noqa: N818  # not an error of the oracle's
    """The value does not fit the contract."""


def instant(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def stored(schema: Schema, value: Any) -> Any:
    """What the column holds for ``value``, or ``Misfit``."""
    if value is None:
        _require(schema.nullable)
        return None
    if schema.kind == "object":
        _require(isinstance(value, dict))
        _require(all(field.name in value for field in schema.fields if field.required))
        return {
            field.column: stored(field.schema, value[field.name]) if field.name in value else None
            for field in schema.fields
        }
    if schema.items is not None:
        _require(isinstance(value, list))
        return [stored(schema.items, item) for item in value]
    if schema.kind == "string":
        return _string(schema, value)
    if schema.kind == "boolean":
        _require(isinstance(value, bool) and (schema.enum is None or value in schema.enum))
        return value
    return _number(schema, value)


def _string(schema: Schema, value: Any) -> Any:
    _require(isinstance(value, str))
    if schema.date_time:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise Misfit from None
        _require(moment.tzinfo is not None)
        milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
        _require(TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX)
        return instant(milliseconds)
    _require(schema.min_length is None or len(value) >= schema.min_length)
    _require(schema.max_length is None or len(value) <= schema.max_length)
    _require(schema.pattern is None or re.search(to_python(schema.pattern), value) is not None)
    _require(schema.enum is None or value in schema.enum)
    return value


def _number(schema: Schema, value: Any) -> Any:
    _require(not isinstance(value, bool))
    if schema.kind == "integer":
        _require(isinstance(value, int) and INT64_MIN <= value <= INT64_MAX)
    else:
        _require(isinstance(value, int | float))
        value = float(value)
        _require(math.isfinite(value))
    _require(schema.enum is None or value in schema.enum)
    _require(schema.minimum is None or value >= schema.minimum)
    _require(schema.maximum is None or value <= schema.maximum)
    _require(schema.exclusive_minimum is None or value > schema.exclusive_minimum)
    _require(schema.exclusive_maximum is None or value < schema.exclusive_maximum)
    if schema.timestamp is None:
        return value
    milliseconds = value if schema.timestamp == "ms" else 1000 * value
    _require(TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX)
    return instant(milliseconds)


def _require(fits: bool) -> None:  # that is all it is about
    if not fits:
        raise Misfit


def check_accounting(raw: bytes, outcome: Outcome) -> None:
    """Every line is in the rows or, verbatim, in the rejected; nothing is in both or twice."""
    content = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    numbered = {n: one for n, one in enumerate(lines, start=1) if one.strip(b" \t\r\n")}
    result = outcome.result

    assert result.lines == len(lines)
    assert result.blank_lines == len(lines) - len(numbered)
    assert result.messages == len(numbered)
    assert result.readings_parsed == len(outcome.rows)
    assert result.readings_rejected == len(outcome.rejected)
    assert result.rejected_by == {
        name: count for name, count in result.rejected_by.items() if count
    }
    assert sum(result.rejected_by.values()) == len(outcome.rejected)
    assert result.raw_bytes == len(content)

    whole = [row["raw_line"] for row in outcome.rejected if row["reading_index"] is None]
    assert len(set(whole)) == len(whole) == result.messages_rejected
    places = [(row["raw_line"], row["reading_index"]) for row in outcome.rows]
    places += [
        (row["raw_line"], row["reading_index"])
        for row in outcome.rejected
        if row["reading_index"] is not None
    ]
    assert len(set(places)) == len(places), "a reading is in both, or twice"
    by_line: dict[int, set[int]] = {}
    for number, index in places:
        by_line.setdefault(number, set()).add(index)
    assert by_line.keys() | set(whole) == numbered.keys(), "a line is in neither"
    assert not by_line.keys() & set(whole), "a line is in both"
    for number, indexes in by_line.items():
        assert indexes == set(range(len(indexes))), f"line {number} lacks a reading"
    for row in outcome.rejected:
        assert base64.b64decode(row["line"], validate=True) == numbered[row["raw_line"]]
        assert row["reason"]
        is_message = not row["reason"].startswith("not an envelope")
        sender = _sender(numbered[row["raw_line"]]) if is_message else (None, None)
        assert (row["thing_name"], row["received_at"]) == sender
    for row in outcome.rows:
        envelope = json.loads(numbered[row["raw_line"]])
        _, _, thing, _, *customer = envelope["topic"].split("/")
        assert (row["thing_name"], row["customer"]) == (thing, (customer or [None])[0])
        assert row["received_at"] == instant(envelope["received_at"])


def _sender(raw_line: bytes) -> tuple[str | None, str | None]:
    """Who sent a message, as far as its topic tells, and when it arrived."""
    envelope = json.loads(raw_line)
    received_at = instant(envelope["received_at"])
    form = r"dt/[a-z0-9]+/([a-zA-Z0-9:_-]{1,128})/(test|telemetry)(/[^/]+)?"
    thing = re.fullmatch(form, envelope["topic"])
    received = received_at.replace(tzinfo=None).isoformat(" ", "milliseconds")
    return thing and thing[1], received


def check_values(contract: Contract, messages: list[list[Any]], outcome: Outcome) -> None:
    """The rows hold what fits of ``messages``, whose n-th line is the n-th, and nothing else."""
    expected: dict[tuple[int, int], Any] = {}
    for number, readings in enumerate(messages, start=1):
        for index, reading in enumerate(readings):
            try:
                expected[number, index] = stored(contract.schema, reading)
            except (Misfit, OverflowError):
                continue
    columns = [field.column for field in contract.fields]
    found = {
        (row["raw_line"], row["reading_index"]): {name: row[name] for name in columns}
        for row in outcome.rows
    }
    assert found == expected
