"""device.readings.check: as strict as the parser, before anything is sent."""

import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import contracts
from contracts import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN, Contract
from device.readings.check import ReadingCheck, ReadingError

GOOD = {
    "timestamp": 1_760_000_000_000,
    "temperature": 20.5,
    "humidity": 40,
    "battery": 90,
    "status": "ok",
}


def refusal(payload: bytes, contract: Contract | None = None) -> str:
    with pytest.raises(ReadingError) as caught:
        ReadingCheck(contract or contracts.load("telemetry")).check(payload)
    return str(caught.value)


def contract(schema: dict[str, Any]) -> Contract:
    return contracts.parse("made", json.dumps({"type": "object", "properties": {"v": schema}}))


def accepts(schema: dict[str, Any], value: str) -> bool:
    try:
        ReadingCheck(contract(schema)).check(b'{"v":%s}' % value.encode())
    except ReadingError:
        return False
    return True


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(json.dumps(GOOD), id="required fields"),
        pytest.param(json.dumps({**GOOD, "pressure": None}), id="null where allowed"),
        pytest.param(json.dumps({**GOOD, "unknown": [{"a": 1}]}), id="unknown field"),
        pytest.param(json.dumps([GOOD, GOOD]), id="array"),
        pytest.param(f" {json.dumps(GOOD)}\n", id="white space"),
    ],
)
def test_accepts_what_fits(payload: str) -> None:
    ReadingCheck(contracts.load("telemetry")).check(payload.encode())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"temperature": 120}, "$.temperature: expected at most 90, got 120"),
        ({"temperature": True}, "$.temperature: expected number, got true"),
        ({"temperature": "20"}, '$.temperature: expected number, got "20"'),
        ({"temperature": None}, "$.temperature: expected number, got null"),
        ({"sequence": 12.0}, "$.sequence: expected 64-bit integer, got 12.0"),
        ({"sequence": 2**63}, f"$.sequence: expected 64-bit integer, got {2**63}"),
        ({"sequence": -1}, "$.sequence: expected at least 0, got -1"),
        (
            {"status": "on fire"},
            '$.status: expected one of "ok", "low_battery", "fault", got "on fire"',
        ),
        ({"firmware": "x" * 33}, "$.firmware: expected at most 32 characters, got"),
        ({"pressure": 1}, "$.pressure: expected at least 300, got 1"),
        (
            {"timestamp": TIMESTAMP_MS_MAX + 1},
            "$.timestamp: expected a timestamp of the years 1 to 9999 in ms",
        ),
    ],
)
def test_says_what_was_expected_where(change: dict[str, Any], expected: str) -> None:
    assert refusal(json.dumps({**GOOD, **change}).encode()).startswith(expected)


def test_names_the_missing_field() -> None:
    assert refusal(b"{}") == "$.timestamp: expected this field, got none"


def test_names_the_reading_of_an_array() -> None:
    payload = json.dumps([GOOD, {**GOOD, "humidity": -1}]).encode()
    assert refusal(payload) == "$[1].humidity: expected at least 0, got -1"


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json", id="text"),
        pytest.param(b'{"timestamp":', id="cut short"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"unknown": NaN}', id="NaN"),
        pytest.param(b'{"unknown": -Infinity}', id="Infinity"),
        pytest.param(b'{"unknown": 1e999}', id="too large"),
        pytest.param(b'{"unknown": "\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"unknown": 1, "unknown": 1}', id="key twice"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"[]", id="empty array"),
        pytest.param(b"1", id="a number"),
        pytest.param(b"[[]]", id="an array of arrays"),
    ],
)
def test_refuses_what_is_not_a_reading(payload: bytes) -> None:
    assert refusal(payload).startswith("$")


def test_shortens_long_values() -> None:
    assert len(refusal(json.dumps({**GOOD, "firmware": "x" * 10_000}).encode())) < 150


@pytest.mark.parametrize("unit", ["ms", "s"])
def test_timestamps_are_of_the_years_1_to_9999(unit: str) -> None:
    schema = {"type": "integer", "x-timestamp": unit}
    scale = 1000 if unit == "s" else 1
    assert accepts(schema, str(TIMESTAMP_MS_MIN // scale))
    assert not accepts(schema, str(TIMESTAMP_MS_MIN // scale - 1))
    assert accepts(schema, str(TIMESTAMP_MS_MAX // scale))
    assert not accepts(schema, str(TIMESTAMP_MS_MAX // scale + 1))


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("2026-11-22T17:00:00Z", True),
        ("2026-11-22t17:00:00.123456789z", True),
        ("2026-11-22T17:00:00+05:30", True),
        ("2026-11-22T17:00:00", False),
        ("2026-11-22 17:00:00Z", False),
        ("2026-11-22T17:00:60Z", False),
        ("2026-11-22T24:00:00Z", False),
        ("2026-11-22T17:00:00+24:00", False),
        ("2026-11-22T17:00:00+0530", False),
        ("2026-02-29T00:00:00Z", False),
        ("0001-01-01T00:00:00+01:00", False),
        ("9999-12-31T23:59:59.9999999Z", True),
        ("9999-12-31T23:59:59-00:01", False),
        ("٢٠٢٦-11-22T17:00:00Z", False),
    ],
)
def test_date_times_are_rfc_3339_with_an_offset(text: str, *, fits: bool) -> None:
    assert accepts({"type": "string", "format": "date-time"}, json.dumps(text)) is fits


def test_lengths_are_in_code_points() -> None:
    assert accepts({"type": "string", "maxLength": 1}, json.dumps("😀"))


def test_a_huge_integer_is_not_a_number() -> None:
    digits = 10 ** (sys.float_info.max_10_exp + 1)
    assert not accepts({"type": "number"}, str(digits))
    assert accepts({"type": "number"}, str(10**30))


@settings(max_examples=300, deadline=None)
@given(
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        st.lists(st.integers(), max_size=2),
    ),
    kind=st.sampled_from([("integer", int), ("number", float), ("string", str), ("boolean", bool)]),
)
def test_types_are_those_of_a_strict_decoder(value: object, kind: tuple[str, type]) -> None:
    text = json.dumps(value)
    name, type_ = kind
    try:
        decoded: Any = msgspec.json.decode(text, type=type_)
        strict = name != "integer" or -(2**63) <= decoded < 2**63
    except msgspec.ValidationError:
        strict = False
    assert accepts({"type": name}, text) is strict
