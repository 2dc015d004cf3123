"""The contract loader: the whole subset is read, everything else is named and refused."""

import contextlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts
from contracts import Contract, ContractError, Schema, integer_range, names, parse, reader
from tests.unit.contracts.strategies import documents


def field(schema: Any) -> str:
    return json.dumps({"type": "object", "properties": {"field": schema}})


def error_of(text: str | bytes) -> str:
    with pytest.raises(ContractError) as raised:
        parse("test", text)
    assert str(raised.value).startswith("test.json: ")
    return str(raised.value).removeprefix("test.json: ")


def test_every_contract_of_the_project_loads() -> None:
    assert "telemetry" in contracts.channels()
    assert [contract.channel for contract in contracts.load_all()] == list(contracts.channels())


def test_a_folder_without_contracts_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "channels", lambda: ())
    with pytest.raises(ContractError, match="expected a contract in "):
        contracts.load_all()


def test_the_telemetry_contract_describes_every_field() -> None:
    assert all(field.schema.description for field in contracts.load("telemetry").fields)


@given(documents)
def test_reads_the_whole_subset(document: dict[str, Any]) -> None:
    contract = parse("test", json.dumps(document))
    assert [field.name for field in contract.fields] == list(document["properties"])
    assert {field.name for field in contract.fields if field.required} == set(
        document.get("required", [])
    )
    assert contract.document == document


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"oneOf": []}, "$.properties.field.type"),
        ({"type": "string", "oneOf": []}, "$.properties.field.oneOf"),
        ({"$ref": "#/x", "type": "string"}, "$.properties.field.$ref"),
        ({"type": "string", "title": 1}, "$.properties.field.title"),
        ({"type": "string", "$comment": []}, "$.properties.field.$comment"),
        ({"type": "string", "$id": None}, "$.properties.field.$id"),
        ({"type": "string", "examples": "x"}, "$.properties.field.examples"),
        ({"type": "string", "deprecated": "yes"}, "$.properties.field.deprecated"),
        (
            {"type": "array", "items": {"type": "string", "title": 1}},
            "$.properties.field.items.title",
        ),
        ({"type": "string", "minimum": 1}, "$.properties.field.minimum"),
        ({"type": "number", "multipleOf": 2}, "$.properties.field.multipleOf"),
        ({"type": "number", "x-timestamp": "ms"}, "$.properties.field.x-timestamp"),
        ({"type": "integer", "x-timestamp": "us"}, "$.properties.field.x-timestamp"),
        ({"type": "string", "format": "email"}, "$.properties.field.format"),
        ({"type": "null"}, "$.properties.field.type"),
        ({"type": ["string", "integer"]}, "$.properties.field.type"),
        ({"type": ["null", "null"]}, "$.properties.field.type"),
        ({"type": []}, "$.properties.field.type"),
        ({"type": {"a": 1}}, "$.properties.field.type"),
        (True, "$.properties.field"),
        ({"type": "array"}, "$.properties.field"),
        ({"type": "array", "items": {"type": "date"}}, "$.properties.field.items.type"),
        ({"type": "array", "items": [{"type": "string"}]}, "$.properties.field.items"),
        ({"type": "object"}, "$.properties.field.properties"),
        (
            {"type": "object", "properties": {"x": {"type": "string", "const": 1}}},
            "$.properties.field.properties.x.const",
        ),
        (
            {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["y"]},
            "$.properties.field.required[0]",
        ),
        (
            {
                "type": "object",
                "properties": {"x": {"type": "string"}},
                "additionalProperties": False,
            },
            "$.properties.field.additionalProperties",
        ),
        ({"type": "integer", "minimum": 1.5}, "$.properties.field.minimum"),
        ({"type": "integer", "maximum": 2**63}, "$.properties.field.maximum"),
        ({"type": "number", "maximum": 10**400}, "$.properties.field.maximum"),
        ({"type": "number", "minimum": True}, "$.properties.field.minimum"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "$.properties.field"),
        ({"type": "string", "minLength": -1}, "$.properties.field.minLength"),
        ({"type": "string", "minLength": 1.0}, "$.properties.field.minLength"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "$.properties.field"),
        ({"type": "string", "pattern": "("}, "$.properties.field.pattern"),
        ({"type": "string", "pattern": 1}, "$.properties.field.pattern"),
        ({"type": "string", "format": "date-time", "pattern": "Z$"}, "$.properties.field"),
        ({"type": "string", "enum": []}, "$.properties.field.enum"),
        ({"type": "string", "enum": ["a", 1]}, "$.properties.field.enum[1]"),
        ({"type": "string", "enum": ["a", "a"]}, "$.properties.field.enum[1]"),
        ({"type": "integer", "enum": [1, True]}, "$.properties.field.enum[1]"),
        ({"type": ["string", "null"], "enum": ["a"]}, "$.properties.field.enum"),
        ({"type": "string", "enum": ["a", None]}, "$.properties.field.enum[1]"),
        ({"type": "string", "description": 1}, "$.properties.field.description"),
        ({"type": "string", "x-unit": []}, "$.properties.field.x-unit"),
    ],
)
def test_what_is_outside_the_subset_is_refused_by_its_path(schema: Any, path: str) -> None:
    message = error_of(field(schema))
    assert message.startswith(f"{path}: "), message


ANNOTATIONS = {
    "title": "A title",
    "description": "What it is.",
    "examples": ["x", 1, None, {"a": []}],
    "$id": "https://example.com/schema",
    "$comment": "Not for readers.",
    "deprecated": True,
    "default": {"any": "value"},
}


@pytest.mark.parametrize("annotation", sorted(ANNOTATIONS))
def test_an_annotation_is_accepted_everywhere_and_allows_the_same_readings(annotation: str) -> None:
    note = {annotation: ANNOTATIONS[annotation]}

    def document(**more: Any) -> dict[str, Any]:
        scalars = [{"type": name, **more} for name in ("string", "integer", "number", "boolean")]
        properties = {f"f{n}": schema for n, schema in enumerate(scalars)}
        items = {"type": "object", "properties": properties, **more}
        return {
            "type": "object",
            "properties": {"a": {"type": ["array", "null"], "items": items, **more}},
            **more,
        }

    def bare(schema: Schema) -> Schema:
        return replace(
            schema,
            description=None,
            examples=(),
            items=schema.items and bare(schema.items),
            fields=tuple(replace(field, schema=bare(field.schema)) for field in schema.fields),
        )

    annotated = parse("test", json.dumps(document(**note)))
    assert bare(annotated.schema) == parse("test", json.dumps(document())).schema


def test_examples_are_kept() -> None:
    (kept,) = parse("test", field({"type": "string", "examples": ["x", "y"]})).fields
    assert kept.schema.examples == ("x", "y")


@pytest.mark.parametrize("moment", [0, 1_790_000_000, 1_577_836_799_999, -1])
def test_a_telemetry_timestamp_of_an_unset_clock_or_in_seconds_is_not_allowed(moment: int) -> None:
    (schema,) = (f.schema for f in contracts.load("telemetry").fields if f.name == "timestamp")
    lowest, highest = integer_range(schema)
    assert moment < lowest <= 1_790_000_000_000 <= highest


@pytest.mark.parametrize("name", ["customer", "Raw_Key", "dt", "hour", "READING_INDEX", "raw_line"])
def test_a_name_of_the_pipelines_own_columns_is_refused(name: str) -> None:
    text = json.dumps({"type": "object", "properties": {name: {"type": "string"}}})
    assert error_of(text).startswith(f"$.properties.{name}: ")


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "a b", "ä", "x" * 129, "a\n"])
def test_a_name_that_is_no_column_is_refused(name: str) -> None:
    text = json.dumps({"type": "object", "properties": {name: {"type": "string"}}})
    assert "expected a name of at most 128" in error_of(text)


def test_names_that_differ_only_in_case_are_refused() -> None:
    properties = {"volt": {"type": "number"}, "Volt": {"type": "number"}}
    assert "only in case" in error_of(json.dumps({"type": "object", "properties": properties}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"type": "object", "type": "object"}',
        b'{"type": "object", "properties": {"a": {"type": "number", "minimum": NaN}}}',
        b'{"type": "object", "properties": {"a": {"type": "number", "minimum": 1e999}}}',
        b'{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}',
        b'{"type": ["object", "null"], "properties": {"a": {"type": "string"}}}',
        b'{"type": "array", "items": {"type": "string"}}',
    ],
)
def test_a_file_that_is_no_contract_is_refused_in_one_line(text: bytes) -> None:
    assert len(error_of(text).splitlines()) == 1


def test_a_schema_nested_too_deeply_is_refused() -> None:
    text = '{"type": "array", "items": ' * 5000 + '{"type": "string"}' + "}" * 5000
    assert "nested too deeply" in error_of('{"type":"object","properties":{"a":' + text + "}}")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(documents, st.data())
def test_any_mutation_of_a_contract_is_a_contract_or_a_contract_error(
    document: dict[str, Any], data: st.DataObject
) -> None:
    mutated = json.loads(json.dumps(document))
    node = mutated
    while True:
        key = data.draw(st.sampled_from(sorted(node)) if node else st.just("type"))
        if isinstance(node.get(key), dict) and data.draw(st.booleans()):
            node = node[key]
            continue
        node[data.draw(st.just(key) | st.sampled_from(["items", "enum", "x", "required"]))] = (
            data.draw(_json)
        )
        break
    with contextlib.suppress(ContractError):  # anything else fails the test
        assert isinstance(parse("test", json.dumps(mutated)), Contract)


@pytest.mark.parametrize(
    "channel", ["", "Telemetry", "a-b", "1st", "a" * 33, "../telemetry", "a\n"]
)
def test_a_channel_that_cannot_be_part_of_a_rule_is_refused(channel: str) -> None:
    with pytest.raises(ContractError):
        parse(channel, field({"type": "string"}))
    with pytest.raises(ContractError):
        contracts.load(channel)


@pytest.mark.parametrize("thing", ["", "a b", "a/b", "ä", "a" * 129, "a\n", "+", "${x}"])
def test_a_thing_name_that_aws_iot_would_refuse_is_refused(thing: str) -> None:
    with pytest.raises(ValueError, match="expected a thing name"):
        names.check_thing_name(thing)


def test_the_longest_names_still_make_a_topic_that_aws_iot_takes() -> None:
    topic = names.topic("e" * 16, "t" * 128, "c" * 32)
    assert len(topic.encode()) <= names.MAX_TOPIC_BYTES


@pytest.mark.parametrize("channel", ["telemetry_rejected", "telemetry_daily", "order", "group"])
def test_a_channel_whose_table_is_taken_or_reserved_is_refused(channel: str) -> None:
    with pytest.raises(ContractError, match=rf"^{channel}\.json: expected a .*name that"):
        parse(channel, field({"type": "string"}))


@pytest.mark.parametrize("name", ["order", "Group", "FROM", "current_date"])
def test_a_column_that_sql_reserves_is_refused(name: str) -> None:
    document = {"type": "object", "properties": {name: {"type": "string"}}}
    with pytest.raises(ContractError, match=rf"\$\.properties\.{name}: expected a column's name"):
        parse("test", json.dumps(document))


@pytest.mark.parametrize("name", ["day", "dt", "hour", "customer", "Thing_Name", "raw_key"])
def test_a_column_that_the_pipeline_adds_is_refused(name: str) -> None:
    document = {"type": "object", "properties": {name: {"type": "string"}}}
    with pytest.raises(ContractError, match="the pipeline adds a column of this name"):
        parse("test", json.dumps(document))


@pytest.mark.parametrize(("text", "minutes"), [("10m", 10), ("2h", 120), ("24h", 1440)])
def test_a_contract_may_say_how_often_a_device_reports(text: str, minutes: int) -> None:
    document = json.dumps(
        {"type": "object", "properties": {"a": {"type": "string"}}, "x-expected-every": text}
    )
    assert contracts.parse("c", document).expected_every == timedelta(minutes=minutes)


@pytest.mark.parametrize("value", ["10", "0m", "25h", "10s", "1441m", " 10m", 10, None])
def test_an_expected_interval_is_minutes_or_hours_up_to_a_day(value: object) -> None:
    document = json.dumps(
        {"type": "object", "properties": {"a": {"type": "string"}}, "x-expected-every": value}
    )
    with pytest.raises(ContractError, match=r"c\.json: \$\.x-expected-every: expected minutes"):
        contracts.parse("c", document)


def test_only_the_whole_contract_may_say_how_often() -> None:
    document = json.dumps(
        {"type": "object", "properties": {"a": {"type": "string", "x-expected-every": "10m"}}}
    )
    with pytest.raises(ContractError, match=r"\$\.properties\.a\.x-expected-every"):
        contracts.parse("c", document)
