"""device.readings.check: the parser's checker, with words for a person who may see the value.

What each keyword of a contract allows is tested in ``tests/unit/parser/test_readings.py``.
"""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import contracts
from contracts import TIMESTAMP_MS_MAX
from device.readings.check import ReadingCheck, ReadingError

GOOD = {
    "timestamp": 1_760_000_000_000,
    "temperature": 20.5,
    "humidity": 40,
    "battery": 90,
    "status": "ok",
}


def refusal(payload: bytes) -> str:
    with pytest.raises(ReadingError) as caught:
        ReadingCheck(contracts.load("telemetry")).check(payload)
    return str(caught.value)


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
        ({"temperature": 120}, "$.temperature: expected number <= 90.0, got 120"),
        ({"temperature": True}, "$.temperature: expected number, got true"),
        ({"temperature": "20"}, '$.temperature: expected number, got "20"'),
        ({"temperature": None}, "$.temperature: expected number, got null"),
        ({"sequence": 12.0}, "$.sequence: expected integer, got 12.0"),
        ({"sequence": 2**63}, f"$.sequence: expected integer <= {2**63 - 1}, got {2**63}"),
        ({"sequence": -1}, "$.sequence: expected integer >= 0, got -1"),
        (
            {"status": "on fire"},
            "$.status: expected one of the values that the contract allows: "
            '"ok", "low_battery", "fault", got "on fire"',
        ),
        ({"firmware": "x" * 33}, '$.firmware: expected string of length <= 32, got "xxx'),
        ({"pressure": 1}, "$.pressure: expected number >= 300.0, got 1"),
        (
            {"timestamp": TIMESTAMP_MS_MAX + 1},
            "$.timestamp: expected integer (milliseconds since 1970) <= "
            f"{TIMESTAMP_MS_MAX}, got {TIMESTAMP_MS_MAX + 1}",
        ),
    ],
)
def test_says_what_was_expected_where(change: dict[str, Any], expected: str) -> None:
    assert refusal(json.dumps({**GOOD, **change}).encode()).startswith(expected)


def test_a_telemetry_reading_of_1970_is_refused_and_one_in_seconds_gets_a_hint() -> None:
    assert "$.timestamp: expected integer" in refusal(json.dumps({**GOOD, "timestamp": 0}).encode())
    in_seconds = refusal(json.dumps({**GOOD, "timestamp": 1_790_000_000}).encode())
    assert in_seconds.startswith("$.timestamp: expected integer (milliseconds since 1970) >= ")
    assert in_seconds.endswith("got 1790000000; this looks like seconds")


def test_names_the_missing_field() -> None:
    assert refusal(b"{}") == "$.timestamp: required field is missing"


def test_names_the_reading_of_an_array() -> None:
    payload = json.dumps([GOOD, {**GOOD, "humidity": -1}]).encode()
    assert refusal(payload) == "$[1].humidity: expected number >= 0.0, got -1"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(json.dumps({**GOOD, "temperature": float("nan")}).encode(), id="NaN"),
        pytest.param(b"{'temperature': 1}", id="single quotes"),
        pytest.param(b'{"a": 1, "a": 2, ' + json.dumps(GOOD).encode()[1:], id="key twice"),
        pytest.param(b"", id="nothing between commas"),
    ],
)
def test_names_the_reading_of_an_array_that_is_not_json(bad: bytes) -> None:
    good = json.dumps(GOOD).encode()
    assert refusal(b"[%s, %s, %s]" % (good, bad, good)).startswith("$[1]: expected JSON: ")
    assert refusal(b"[%s,%s]" % (good, bad)).startswith("$[1]: expected JSON: ")


def test_names_no_reading_of_an_array_whose_boundaries_cannot_be_told() -> None:
    assert refusal(b'[{"a": NaN}, {').startswith("$: expected JSON: ")


def with_unknown(value: bytes) -> bytes:
    return json.dumps(GOOD).encode()[:-1] + b', "unknown": ' + value + b"}"


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json", id="text"),
        pytest.param(b'{"timestamp":', id="cut short"),
        pytest.param(with_unknown(b'"\xff"'), id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(with_unknown(b"NaN"), id="NaN"),
        pytest.param(with_unknown(b"-Infinity"), id="Infinity"),
        pytest.param(with_unknown(b'"\\ud800"'), id="half a surrogate pair"),
        pytest.param(with_unknown(b'1, "unknown": 1'), id="key twice"),
        pytest.param(with_unknown(b"[" * 100_000 + b"]" * 100_000), id="nested"),
        pytest.param(b"[]", id="empty array"),
        pytest.param(b"1", id="a number"),
        pytest.param(b"[[]]", id="an array of arrays"),
    ],
)
def test_refuses_what_is_not_a_reading(payload: bytes) -> None:
    assert refusal(payload).startswith("$")


def test_a_key_that_appears_twice_is_named_as_the_fault() -> None:
    assert refusal(with_unknown(b'1, "unknown": 1')) == (
        "$: expected JSON: a key appears twice in one object"
    )


def test_shortens_long_values() -> None:
    assert len(refusal(json.dumps({**GOOD, "firmware": "x" * 10_000}).encode())) < 150


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_a_reading_that_is_cut_or_spoilt_raises_only_what_is_documented(
    data: st.DataObject,
) -> None:
    low = {**GOOD, "timestamp": 5}
    text = bytearray(
        json.dumps(data.draw(st.sampled_from([GOOD, low, [GOOD, low], [[]]]))).encode()
    )
    for _ in range(data.draw(st.integers(0, 2))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    check = ReadingCheck(contracts.load("telemetry"))
    with contextlib.suppress(ReadingError):
        check.check(bytes(text[: data.draw(st.integers(0, len(text)))]))


_names = st.sampled_from(["a", "b", "a:b", '"a":', "\\u003a"])


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(_names.map(json.dumps), st.sampled_from([":", " :", ": "]), values)
    return st.lists(pairs.map("".join), max_size=4).map(lambda some: f"{{{','.join(some)}}}")


_values = st.recursive(
    st.sampled_from(["1", '""', '":"', '"a\\":1"', '"2026-01-01T00:00:00Z"', "1e999", "null"]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{','.join(items)}]") | _objects(inner)
    ),
    max_leaves=6,
)


def names_are_unique(text: str) -> bool:
    unique = True

    def note(pairs: list[tuple[str, Any]]) -> None:
        nonlocal unique
        unique = unique and len(dict(pairs)) == len(pairs)

    json.loads(text, object_pairs_hook=note)
    return unique


@settings(deadline=None)
@given(_objects(_values))
def test_a_key_that_appears_twice_is_found_wherever_it_is_and_no_other(unknown: str) -> None:
    text = f"{json.dumps(GOOD)[:-1]}, {unknown[1:]}" if unknown != "{}" else json.dumps(GOOD)
    check = ReadingCheck(contracts.load("telemetry"))
    if names_are_unique(text):
        check.check(text.encode())
    else:
        with pytest.raises(ReadingError, match="a key appears twice"):
            check.check(text.encode())
