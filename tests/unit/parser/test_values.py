"""Each keyword of the contract: the values that fit it and those that do not."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contracts import INT64_MAX, INT64_MIN, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from tests.unit.parser.examples import (
    GOOD,
    TELEMETRY,
    contract,
    line,
    parse_lines,
    parse_reading,
)

_PATTERN = "^[a-c]+$"
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)


@pytest.mark.parametrize(
    ("schema", "json_text", "value"),
    [
        ({"type": "integer"}, "12", 12),
        ({"type": "integer"}, str(INT64_MAX), INT64_MAX),
        ({"type": "integer"}, str(INT64_MIN), INT64_MIN),
        ({"type": "integer", "minimum": 3}, "3", 3),
        ({"type": "integer", "exclusiveMaximum": 3}, "2", 2),
        ({"type": "integer", "enum": [1, 2]}, "2", 2),
        ({"type": "number"}, "21", 21.0),
        ({"type": "number"}, "-0.1", -0.1),
        ({"type": "number"}, "1e-400", 0.0),
        ({"type": "number"}, "123456789012345678901234567890", 1.2345678901234568e29),
        ({"type": "number", "exclusiveMinimum": 0}, "5e-324", 5e-324),
        ({"type": "number", "enum": [0.5, 2]}, "2.0", 2.0),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean", "enum": [False]}, "false", False),
        ({"type": "string"}, '""', ""),
        ({"type": "string"}, '"\\u0000"', "\0"),
        ({"type": "string"}, '"\\ud83d\\ude00"', "\U0001f600"),
        ({"type": "string"}, '"\u2028\u0085e\u0301\u00e9"', "\u2028\u0085e\u0301\u00e9"),
        ({"type": "string", "minLength": 1, "maxLength": 1}, '"\U0001f600"', "\U0001f600"),
        ({"type": "string", "pattern": _PATTERN}, '"abc"', "abc"),
        ({"type": "string", "enum": ["a", "b"], "maxLength": 1}, '"b"', "b"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"], "enum": ["a", None]}, "null", None),
        ({"type": ["boolean", "null"], "enum": [True, None]}, "null", None),
        ({"type": "array", "items": {"type": ["integer", "null"]}}, "[1, null]", [1, None]),
        ({"type": "array", "items": {"type": "string"}}, "[]", []),
        ({"type": ["array", "null"], "items": {"type": "string"}}, "null", None),
        (
            {"type": "object", "properties": {"X": {"type": "integer"}, "y": {"type": "string"}}},
            '{"X": 1, "z": 2}',
            {"x": 1, "y": None},
        ),
    ],
)
def test_a_value_that_fits_arrives_as_it_was_sent(
    schema: dict[str, Any], json_text: str, value: object
) -> None:
    outcome = parse_reading(b'{"v": %s}' % json_text.encode(), contract(["v"], v=schema))
    assert outcome.column("v") == [value]
    assert repr(outcome.column("v")) == repr([value]), "of the same type too"


@pytest.mark.parametrize(
    ("schema", "json_text", "reason"),
    [
        ({"type": "integer"}, '"12"', "expected integer, got string"),
        ({"type": "integer"}, "true", "expected integer, got boolean"),
        ({"type": "integer"}, "12.0", "expected integer, got number"),
        ({"type": "integer"}, "null", "expected integer, got null"),
        ({"type": "integer"}, "9223372036854775808", f"expected integer <= {INT64_MAX}"),
        ({"type": "integer"}, "-9223372036854775809", f"expected integer >= {INT64_MIN}"),
        ({"type": "integer"}, "9" * 400, f"expected integer <= {INT64_MAX}"),
        ({"type": "integer", "minimum": 3}, "2", "expected integer >= 3"),
        ({"type": "integer", "maximum": 3}, "4", "expected integer <= 3"),
        ({"type": "integer", "exclusiveMinimum": 3}, "3", "expected integer >= 4"),
        ({"type": "integer", "exclusiveMaximum": 3}, "3", "expected integer <= 2"),
        ({"type": "integer", "exclusiveMinimum": INT64_MAX}, "5", "contract allows"),
        ({"type": "integer", "enum": [1, 2]}, "3", "contract allows"),
        ({"type": "integer", "enum": [1, 2]}, "1.0", "contract allows"),
        ({"type": "integer", "enum": [1, 2]}, "true", "contract allows"),
        ({"type": "integer", "enum": [1, 2], "minimum": 2}, "1", "contract allows"),
        ({"type": "number"}, "1e400", "number out of range"),
        ({"type": "number"}, "-1e400", "number out of range"),
        ({"type": "number"}, "9" * 400, "number out of range"),
        ({"type": "number"}, '"1"', "expected number, got string"),
        ({"type": "number"}, "false", "expected number, got boolean"),
        ({"type": "number", "minimum": 1}, "0.5", "expected number >= 1.0"),
        ({"type": "number", "maximum": 1}, "1.5", "expected number <= 1.0"),
        ({"type": "number", "exclusiveMinimum": 1, "minimum": 1}, "1", "expected number > 1.0"),
        ({"type": "number", "exclusiveMaximum": 1, "maximum": 2}, "1", "expected number < 1.0"),
        ({"type": "number", "minimum": 2, "exclusiveMinimum": 1}, "1.5", "expected number >= 2.0"),
        ({"type": "number", "enum": [0.5]}, "0.6", "contract allows"),
        ({"type": "boolean"}, "1", "expected boolean, got integer"),
        ({"type": "boolean", "enum": [True]}, "false", "contract allows"),
        ({"type": "boolean", "enum": [True]}, "1", "contract allows"),
        ({"type": "string"}, "1", "expected string, got integer"),
        ({"type": "string", "minLength": 2}, '"\U0001f600"', "length >= 2"),
        ({"type": "string", "maxLength": 2}, '"abc"', "length <= 2"),
        ({"type": "string", "pattern": _PATTERN}, '"abd"', "matching regex '^[a-c]+$'"),
        ({"type": "string", "enum": ["a"]}, '"secret"', "contract allows"),
        ({"type": "string", "enum": ["ab"], "maxLength": 1}, '"ab"', "contract allows"),
        ({"type": "string", "enum": ["ab", "c"], "maxLength": 1}, '"ab"', "contract allows"),
        ({"type": ["string", "null"]}, "1", "expected string | null, got integer"),
        ({"type": "array", "items": {"type": "integer"}}, "{}", "expected array, got object"),
        ({"type": "object", "properties": {"x": {"type": "integer"}}}, "[]", "expected object"),
    ],
)
def test_a_value_that_does_not_fit_is_rejected_at_its_path(
    schema: dict[str, Any], json_text: str, reason: str
) -> None:
    outcome = parse_reading(b'{"v": %s}' % json_text.encode(), contract(v=schema))
    assert outcome.rows == []
    ((path, found),) = outcome.reasons
    assert path == "$.v"
    assert reason in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("reading", "path"),
    [
        ({}, "$.o"),
        ({"o": {}}, "$.o.a"),
        ({"o": {"a": [1, "x"]}}, "$.o.a[1]"),
        ({"o": {"a": [], "deep": {"x": 1.5}}}, "$.o.deep.x"),
        (12, "$"),
        ("text", "$"),
        (None, "$"),
    ],
)
def test_the_path_names_the_first_violation(reading: object, path: str) -> None:
    deep = {"type": "object", "properties": {"x": {"type": "integer"}}}
    nested = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "deep": deep},
        "required": ["a"],
    }
    outcome = parse_reading(reading, contract(["o"], o=nested))
    assert [row["path"] for row in outcome.rejected] == [path]
    assert [row["reading_index"] for row in outcome.rejected] == [0]


@pytest.mark.parametrize(
    ("schema", "json_text", "moment"),
    [
        ("ms", "-1", datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        ("ms", str(TIMESTAMP_MS_MIN), datetime(1, 1, 1, tzinfo=UTC)),
        ("ms", str(TIMESTAMP_MS_MAX), LAST),
        ("ms", "9223372036855", datetime(2262, 4, 11, 23, 47, 16, 855_000, UTC)),
        ("s", "-62135596800", datetime(1, 1, 1, tzinfo=UTC)),
        ("s", "253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("date-time", '"2026-11-22T10:00:00.123Z"', datetime(2026, 11, 22, 10, 0, 0, 123_000, UTC)),
        ("date-time", '"2026-11-22t10:00:00+02:00"', datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("date-time", '"9999-12-31T23:59:59.9999999Z"', LAST),
        (
            "date-time",
            '"1969-12-31T23:59:59.9999999z"',
            datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC),
        ),
        ("date-time", '"0001-01-01T00:00:00Z"', datetime(1, 1, 1, tzinfo=UTC)),
        (
            "date-time",
            '"2024-02-29T23:59:59.5-00:00"',
            datetime(2024, 2, 29, 23, 59, 59, 500_000, UTC),
        ),
    ],
)
def test_timestamps_are_exact_to_the_millisecond(
    schema: str, json_text: str, moment: datetime
) -> None:
    outcome = parse_reading(b'{"t": %s}' % json_text.encode(), contract(t=_time(schema)))
    assert outcome.column("t") == [moment]


@pytest.mark.parametrize(
    ("schema", "json_text"),
    [
        ("ms", str(TIMESTAMP_MS_MIN - 1)),
        ("ms", str(TIMESTAMP_MS_MAX + 1)),
        ("ms", str(INT64_MAX)),
        ("ms", "1.5"),
        ("s", "253402300800"),
        ("s", "-62135596801"),
        ("s", str(INT64_MAX)),
        ("date-time", '"0001-01-01T00:00:00+00:01"'),
        ("date-time", '"9999-12-31T23:59:59-00:01"'),
        ("date-time", '"2026-02-29T00:00:00Z"'),
        ("date-time", '"2026-11-22T24:00:00Z"'),
        ("date-time", '"2026-11-22T23:59:60Z"'),
        ("date-time", '"2026-11-22T10:00:00"'),
        ("date-time", '"2026-11-22 10:00:00Z"'),
        ("date-time", '"20261122T100000Z"'),
        ("date-time", '"2026-11-22T17:00:00+24:00"'),
        ("date-time", '"2026-11-22T17:00:00+0530"'),
        ("date-time", '"2026-11-22"'),
        ("date-time", '"2026-11-22T10:00:00Z\\n"'),
        ("date-time", '"\u0662026-11-22T10:00:00Z"'),
        ("date-time", "1795338000000"),
        ("date-time", "null"),
    ],
)
def test_a_timestamp_that_no_column_can_hold_is_rejected(schema: str, json_text: str) -> None:
    outcome = parse_reading(b'{"t": %s}' % json_text.encode(), contract(t=_time(schema)))
    assert outcome.rows == []
    assert [row["path"] for row in outcome.rejected] == ["$.t"]


def _time(schema: str) -> dict[str, Any]:
    if schema == "date-time":
        return {"type": "string", "format": "date-time"}
    return {"type": "integer", "x-timestamp": schema}


def test_an_optional_field_that_is_missing_is_null_and_an_unknown_one_ignored() -> None:
    (row,) = parse_lines(line(GOOD | {"wind": 3, "nested": {"a": [1]}})).rows
    assert row["sequence"] is None
    assert row["firmware"] is None
    assert "wind" not in row


def test_a_reason_is_never_a_quotation() -> None:
    secret = "s3cret-value"  # not one
    readings: list[Any] = [GOOD | {field.name: secret} for field in TELEMETRY.fields]
    readings += [GOOD | {"status": secret}, GOOD | {"firmware": secret * 9}, secret, {secret: 1}]
    outcome = parse_lines(
        line(readings), secret.encode(), line(secret.encode()), line(GOOD, topic=f"dt/{secret}")
    )
    assert len(outcome.rejected) >= len(readings)
    assert not any(secret in f"{row['reason']} {row['path']}" for row in outcome.rejected)
