"""device.readings.simulator: readings that fit, and look like a device's."""

import json
import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import contracts
from contracts import Contract
from device.readings.check import ReadingCheck
from device.readings.simulator import Simulator, SimulatorError
from tests.unit.device.readings.documents import any_contract

NOW = 1_760_000_000.123


def contract(**properties: dict[str, Any]) -> Contract:
    document = {"type": "object", "properties": properties, "required": list(properties)}
    return contracts.parse("made", json.dumps(document))


def readings(of: Contract, count: int, seed: int = 1) -> list[dict[str, Any]]:
    simulator = Simulator(of, seed=seed, clock=lambda: NOW)
    return [simulator.reading() for _ in range(count)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(made=any_contract(), seed=st.integers(0, 10**9), now=st.floats(0, 4e9))
def test_whatever_the_contract_each_reading_fits_it(made: Contract, seed: int, now: float) -> None:
    simulator = Simulator(made, seed=seed, clock=lambda: now)
    check = ReadingCheck(made)
    for _ in range(5):
        try:
            reading = simulator.reading()
        except SimulatorError:
            reject()  # no such value, or none that it can think of
        check.check(json.dumps(reading).encode())


@pytest.mark.parametrize("channel", contracts.channels())
def test_a_thousand_readings_of_each_shipped_contract_fit(channel: str) -> None:
    shipped = contracts.load(channel)
    check = ReadingCheck(shipped)
    for reading in readings(shipped, 1000):
        check.check(json.dumps(reading).encode())


def test_the_same_seed_gives_the_same_readings() -> None:
    telemetry = contracts.load("telemetry")
    assert readings(telemetry, 50, seed=7) == readings(telemetry, 50, seed=7)
    assert readings(telemetry, 50, seed=7) != readings(telemetry, 50, seed=8)


def test_numbers_change_slowly_and_differ() -> None:
    values = [
        r["t"] for r in readings(contract(t={"type": "number", "minimum": -90, "maximum": 90}), 500)
    ]
    assert len(set(values)) > 50
    assert all(abs(after - before) < 9 for before, after in pairwise(values))


def test_a_known_unit_starts_where_a_room_would() -> None:
    made = contract(
        t={"type": "number", "minimum": -90, "maximum": 90, "x-unit": "Cel"},
        p={"type": "number", "minimum": 300, "maximum": 1200, "x-unit": "hPa"},
    )
    (first,) = readings(made, 1)
    assert 10 < first["t"] < 32
    assert 950 < first["p"] < 1070


def test_an_integer_from_0_counts() -> None:
    made = contract(sequence={"type": "integer", "minimum": 0})
    assert [reading["sequence"] for reading in readings(made, 4)] == [0, 1, 2, 3]


def test_timestamps_are_now_in_their_unit() -> None:
    made = contract(
        ms={"type": "integer", "x-timestamp": "ms"},
        s={"type": "integer", "x-timestamp": "s"},
        text={"type": "string", "format": "date-time"},
    )
    assert readings(made, 1) == [
        {"ms": 1_760_000_000_123, "s": 1_760_000_000, "text": "2025-10-09T08:53:20.123Z"}
    ]


def test_an_enumeration_is_mostly_its_first_value_but_not_always() -> None:
    made = contract(status={"type": "string", "enum": ["ok", "low", "fault"]})
    values = [reading["status"] for reading in readings(made, 500)]
    assert values.count("ok") > 400
    assert set(values) == {"ok", "low", "fault"}


def test_what_may_be_null_sometimes_is() -> None:
    made = contract(p={"type": ["number", "null"], "minimum": 1, "maximum": 2})
    nulls = [reading["p"] for reading in readings(made, 1000)].count(None)
    assert 0 < nulls < 100


IMPOSSIBLE = {"type": "string", "pattern": "^no such thing as this$"}


def test_a_required_string_that_it_cannot_make_up_is_an_error_with_its_path() -> None:
    made = contract(inside={"type": "object", "properties": {"s": IMPOSSIBLE}, "required": ["s"]})
    with pytest.raises(SimulatorError, match=r"\$\.inside\.s: cannot make up a string"):
        readings(made, 1)


def test_a_string_is_the_first_example_that_fits() -> None:
    made = contract(s={**IMPOSSIBLE, "examples": [7, "no", "no such thing as this"]})
    assert readings(made, 1) == [{"s": "no such thing as this"}]


def test_an_optional_one_is_left_out() -> None:
    document = {"type": "object", "properties": {"s": IMPOSSIBLE, "n": {"type": "boolean"}}}
    (reading,) = readings(contracts.parse("made", json.dumps(document)), 1)
    assert list(reading) == ["n"]


@pytest.mark.parametrize(
    "bound", [{"exclusiveMaximum": -sys.float_info.max}, {"exclusiveMinimum": sys.float_info.max}]
)
def test_a_bound_that_leaves_only_infinity_is_an_error(bound: dict[str, float]) -> None:
    fields = {"v": {"type": "number", **bound}}
    document = {"type": "object", "required": ["v"], "properties": fields}
    made = contracts.parse("made", json.dumps(document))
    with pytest.raises(SimulatorError, match="no number is within its bounds"):
        Simulator(made, seed=0, clock=lambda: 0.0).reading()
