"""device.readings.encoding: what JSON does not have is one documented error, with its field."""

import json
import re
from collections import OrderedDict, UserDict
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.readings.check import ReadingError
from device.readings.encoding import encode


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["x"] = value
    return value


def deep(levels: int = 100_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(float("nan"), "got NaN or Infinity", id="NaN"),
        pytest.param(float("-inf"), "got NaN or Infinity", id="infinity"),
        pytest.param(Decimal("1.5"), "got Decimal", id="decimal"),
        pytest.param("\ud800", "half a surrogate pair", id="surrogate"),
        pytest.param({1, 2}, "got set", id="set"),
        pytest.param(b"bytes", "got bytes", id="bytes"),
        pytest.param(datetime(2026, 1, 1, tzinfo=UTC), "got datetime", id="time"),
        pytest.param(1 + 2j, "got complex", id="complex"),
        pytest.param(object(), "got object", id="object"),
        pytest.param(cycle(), "contains itself", id="cycle"),
        pytest.param(deep(), "nested too deeply", id="deep"),
        pytest.param(10**5000, "integer", id="a number of 5,000 digits"),
        pytest.param({(1, 2): 3}, "keys must be", id="a tuple as a name"),
        pytest.param({"\udfff": 1}, "half a surrogate pair", id="surrogate in a name"),
        pytest.param([{"y": [float("nan")]}], "got NaN or Infinity", id="far inside"),
    ],
)
def test_a_value_that_json_does_not_have_is_an_error_that_names_the_field(
    value: object, words: str
) -> None:
    with pytest.raises(ReadingError, match=words) as caught:
        encode({"good": 1, "x": value, "also good": "é"})
    assert str(caught.value).startswith("$.x: ")


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        pytest.param({"\ud800": 1}, r"^\$\.\\ud800: a string holds half", id="surrogate"),
        pytest.param({b"x": 1}, r"^\$: a name that is not text \(bytes\)", id="bytes"),
    ],
)
def test_a_name_that_json_does_not_have_is_an_error(reading: Any, words: str) -> None:
    with pytest.raises(ReadingError, match=words) as caught:
        encode(reading)
    str(caught.value).encode()  # can be printed


@pytest.mark.parametrize(
    "several", [[{"x": 1}, {"x": 2}], ({"x": 1},), [], "text", b"{}", None, 7, [("x", 1)]]
)
def test_what_is_not_one_mapping_is_refused(several: Any) -> None:
    with pytest.raises(ReadingError, match=r"expected one reading, a mapping, got .*one by one"):
        encode(several)


@pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict, MappingProxyType])
def test_any_mapping_is_a_reading_also_inside_another(kind: Any) -> None:
    reading = kind({"x": 1.5, "y": kind({"z": [True, None, "é", (1, 2)]})})
    assert encode(reading) == '{"x":1.5,"y":{"z":[true,null,"é",[1,2]]}}'.encode()
    assert json.loads(encode(reading))["y"]["z"][3] == [1, 2]


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A surrogate is not text.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('ab:"é'), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text("xyz"), _json_values))
def test_every_value_that_json_has_comes_back_as_it_was(reading: dict[str, Any]) -> None:
    text = encode(reading)
    assert repr(json.loads(text)) == repr(reading)  # 1 and 1.0, or 1 and True, are equal
    outside_strings = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text)
    assert b" " not in outside_strings
