"""What a person probably meant, said beside what was expected."""

import json

import pytest

import contracts
from device.readings.check import ReadingCheck, ReadingError
from device.readings.complaints import Complaints

TELEMETRY = contracts.load("telemetry")
GOOD = {
    "timestamp": 1_790_000_000_123,
    "temperature": 21.5,
    "humidity": 40,
    "battery": 99,
    "status": "ok",
}


def reason(reading: object, contract: contracts.Contract = TELEMETRY) -> str:
    with pytest.raises(ReadingError) as caught:
        ReadingCheck(contract).check(json.dumps(reading).encode())
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "written"),
    [("timestamp", "Timestamp"), ("temperature", "temperature_c"), ("temperature", "temprature")],
)
def test_a_missing_field_beside_a_similar_one_gets_a_hint(field: str, written: str) -> None:
    reading = {(written if name == field else name): value for name, value in GOOD.items()}
    expected = f'.{field}: required field is missing; the reading has "{written}"'
    assert reason(reading) == f"${expected}"
    assert reason([GOOD, reading]) == f"$[1]{expected}"


def test_a_missing_field_beside_others_gets_none() -> None:
    reading = {name: value for name, value in GOOD.items() if name != "status"} | {"xyz": 1}
    assert reason(reading) == "$.status: required field is missing"


def test_milliseconds_in_a_field_of_seconds_get_a_hint() -> None:
    made = contracts.parse(
        "made",
        json.dumps(
            {"type": "object", "properties": {"t": {"type": "integer", "x-timestamp": "s"}}}
        ),
    )
    assert reason({"t": 1_790_000_000_123}, made).endswith("; this looks like milliseconds")


def test_seconds_in_a_field_of_milliseconds_get_a_hint() -> None:
    schema = {"type": "integer", "x-timestamp": "ms", "minimum": 1_577_836_800_000}
    made = contracts.parse("made", json.dumps({"type": "object", "properties": {"t": schema}}))
    assert reason({"t": 1_790_000_000}, made).endswith("; this looks like seconds")
    assert not reason({"t": 0}, made).endswith("seconds")


def test_an_unknown_field_is_told_once_and_counted() -> None:
    told: list[str] = []
    check = ReadingCheck(TELEMETRY, warn=told.append)
    for _ in range(3):
        check.check(json.dumps([{**GOOD, "wind": 1}, {**GOOD, "rain": 1}]).encode())
    assert len(told) == 2
    assert check.unknown_fields.counts == {"wind": 3, "rain": 3}


def test_a_device_that_invents_names_fills_no_memory() -> None:
    check = ReadingCheck(TELEMETRY)
    for number in range(1000):
        check.check(json.dumps({**GOOD, f"field{number}": 1}).encode())
    assert len(check.unknown_fields.counts) == 100


def test_many_lines_with_one_fault_are_counted_and_not_all_printed() -> None:
    said: list[str] = []
    complaints = Complaints(said.append, "line")
    for number in range(1, 7268):
        complaints.add(number, f'$.temperature: expected number, got "{number}"')
    complaints.add(7268, "expected UTF-8")
    complaints.finish()
    assert len(said) < 10
    assert said[0] == 'line 1: $.temperature: expected number, got "1"'
    assert said[-2:] == [
        "    7,267  $.temperature: expected number",
        "        1  expected UTF-8",
    ]


def test_a_few_faults_are_printed_as_they_are() -> None:
    said: list[str] = []
    complaints = Complaints(said.append, "line")
    complaints.add(3, "expected UTF-8")
    complaints.finish()
    assert said == ["line 3: expected UTF-8"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("$[{}].temperature: expected number <= 90.0, got 500", "$[].temperature: expected number"),
        ("$: expected JSON: trailing characters (byte {})", "$: expected JSON: trailing"),
    ],
)
def test_one_fault_at_many_places_is_one_reason(reason: str, kind: str) -> None:
    said: list[str] = []
    complaints = Complaints(said.append, "line")
    for number in range(1, 1001):
        complaints.add(number, reason.format(number))
    complaints.finish()
    assert len(said) == 5
    assert said[-1].startswith(f"    1,000  {kind}")
