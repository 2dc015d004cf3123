"""What the checker says of a reading that does not fit: never what the device sent."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts
from contracts.reading import ReadingChecker

CONTRACT = contracts.parse(
    "station",
    json.dumps(
        {
            "type": "object",
            "required": ["at"],
            "properties": {
                "at": {"type": "string", "format": "date-time"},
                "status": {"type": "string", "enum": ["ok", "bad"]},
                "level": {"type": "integer", "enum": [1, 2]},
                "serial": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
                "count": {"type": "integer", "minimum": 0},
                "load": {"type": ["number", "null"], "maximum": 1},
                "active": {"type": "boolean"},
                "sent": {"type": "integer", "x-timestamp": "ms"},
                "wind": {
                    "type": "object",
                    "required": ["speed"],
                    "properties": {"speed": {"type": "number"}},
                },
                "samples": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["n"],
                        "properties": {"n": {"type": "integer"}},
                    },
                },
            },
        }
    ),
)
CHECKER = ReadingChecker(CONTRACT)
FIELDS = [field.name for field in CONTRACT.fields]

# Texts that no contract and no message of ours has; some imitate the end of a decoder's message.
SECRETS = ("hunter2", "hunter2` - at `$.hunter2`", "hunter2' - at `$[...].hunter2`", "$.hunter2")


def said(reading: object) -> str:
    """Everything that the checker says of a reading, alone and in an array; empty if it fits."""
    words = list[str]()
    for decoder, value in ((CHECKER.one, reading), (CHECKER.many, [reading])):
        try:
            decoder.decode(json.dumps(value))
        except msgspec.ValidationError as error:
            words.extend(CHECKER.violation(error))
    return " ".join(words)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("shape", ["text", "name", "names inside", "array", "reading"])
def test_neither_a_value_nor_a_name_that_a_device_chose_is_quoted(
    shape: str, field: str, secret: str
) -> None:
    hostile: Any = {
        "text": secret,
        "name": {secret: secret},
        "names inside": {"speed": {secret: 1}, "n": {secret: 1}, secret: {secret: 1}},
        "array": [secret, {"n": secret}, {secret: secret}],
        "reading": None,
    }[shape]
    reading: dict[str, Any] = {"at": "2026-01-01T00:00:00Z", secret: secret, field: hostile}
    if shape == "reading":
        reading = {secret: reading}
    assert said(reading)
    assert "hunter2" not in said(reading)


_values = st.recursive(
    st.sampled_from([*SECRETS, 7_777_777, -7_777_777, 7_777_777.5, True, None]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*FIELDS, "speed", "n", *SECRETS]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_values)
def test_nothing_of_any_reading_is_quoted(reading: Any) -> None:
    assert "hunter2" not in said(reading)
    assert "7777777" not in said(reading)
