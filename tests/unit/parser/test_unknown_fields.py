"""Names that the contract does not know."""

import json
from typing import Any

from telemetry_parser.decoder import ONE_IN, UnknownFields
from tests.unit.parser.examples import GOOD, contract, line, parse_lines


def seen(reading: Any) -> UnknownFields:
    nested = {"type": "object", "properties": {"x": {"type": "number"}}}
    unknown = UnknownFields(
        contract(v={"type": "integer"}, o=nested, a={"type": "array", "items": nested})
    )
    unknown.sample(json.dumps(reading).encode())
    return unknown


def test_names_are_told_once_and_sorted() -> None:
    assert seen([{"v": 1, "w": 2}, {"b": 1, "w": 3}]).named == ("b", "w")


def test_names_in_nested_objects_and_arrays_have_a_path() -> None:
    assert seen({"o": {"y": 1}, "a": [{"x": 1}, {"z": 1}]}).named == ("a.z", "o.y")


def test_names_that_are_not_plain_are_counted_only() -> None:
    unknown = seen({"ok-1": 1, "évil": 1, "a b": 1, "x" * 65: 1, "": 1, "\n": 1})
    assert unknown.named == ("ok-1",)
    assert unknown.unnamed == 5


def test_at_most_twenty_are_named() -> None:
    unknown = seen({f"n{number}": 1 for number in range(50)})
    assert len(unknown.named) == 20
    assert unknown.unnamed == 30


def test_one_message_in_so_many_is_looked_at() -> None:
    lines = [line(GOOD | {f"n{number}": 1}) for number in range(ONE_IN + 2)]
    assert parse_lines(*lines).result.unknown_fields == ("n0", f"n{ONE_IN}")


def test_a_message_whose_readings_are_partly_rejected_is_looked_at() -> None:
    assert parse_lines(line([GOOD | {"new": 1}, {}])).result.unknown_fields == ("new",)
