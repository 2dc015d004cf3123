"""What Catalog promises: tables that say what the contract says."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from aws_cdk import Duration, RemovalPolicy, Size, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template
from hypothesis import given, settings
from hypothesis import strategies as st

import contracts
from contracts import REJECTED_FIELDS, ROW_FIELDS, ContractError, Field, Schema
from stacks.constructs.catalog import Catalog, column_comment, glue_type, one_line
from telemetry_parser.parquet import arrow_schema
from tests.infra.conftest import CONTEXT
from tests.unit.contracts.strategies import documents

Resources = Callable[[Template, str], list[dict[str, Any]]]


def tables_of(template: Template, resources: Resources) -> dict[str, dict[str, Any]]:
    inputs = (table["TableInput"] for table in resources(template, "AWS::Glue::Table"))
    return {table["Name"]: table for table in inputs}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["integer", "null"]}, "bigint"),
        ({"type": "number"}, "double"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "integer", "x-timestamp": "s"}, "timestamp"),
        ({"type": "string", "format": "date-time"}, "timestamp"),
        ({"type": "array", "items": {"type": "number"}}, "array<double>"),
        (
            {
                "type": "object",
                "properties": {
                    "Lat": {"type": "number"},
                    "path": {"type": "array", "items": {"type": "integer"}},
                },
            },
            "struct<lat:double,path:array<bigint>>",
        ),
    ],
)
def test_each_type_of_the_contract_has_its_glue_type(schema: Any, expected: str) -> None:
    document = {"type": "object", "properties": {"field": schema}}
    parsed: Schema = contracts.parse("test", json.dumps(document)).fields[0].schema
    assert glue_type(parsed) == expected


def test_a_nested_type_that_glue_would_refuse_is_one_line() -> None:
    fields = {f"{'f' * 100}{number}": {"type": "number"} for number in range(1300)}
    nested = {"type": "object", "properties": fields}
    document = {"type": "object", "properties": {"big": nested}}
    contract = contracts.parse("test", json.dumps(document))
    stack = Stack()
    catalog = Catalog(
        stack,
        "Catalog",
        database_name="database",
        workgroup_name="workgroup",
        bucket=s3.Bucket(stack, "Parsed"),
        retention=Duration.days(1),
        daily_retention=Duration.days(1),
        scan_limit=Size.gibibytes(1),
        removal_policy=RemovalPolicy.RETAIN,
    )
    with pytest.raises(ContractError, match=r"test\.json: \$\.properties\.big: expected a nested"):
        catalog.add_tables(contract)


@given(st.text(), st.integers(1, 300))
def test_any_text_becomes_one_line_that_glue_accepts(text: str, limit: int) -> None:
    line = one_line(text, limit)
    if line is not None:
        assert 1 <= len(line.encode()) <= limit
        assert line.isprintable()
        assert line == " ".join(line.split())


@pytest.mark.parametrize(
    ("description", "comment"),
    [
        ("first\nsecond\r\n\tthird", "first second third [Cel]"),
        ("ä" * 200, "ä" * 127),
        ("\ud800 half a character", "half a character [Cel]"),
        ("", "[Cel]"),
    ],
)
def test_a_columns_comment_is_shortened_to_what_glue_accepts(
    description: str, comment: str
) -> None:
    schema = Schema(kind="number", description=description, unit="Cel")
    assert column_comment(Field("t", schema, required=True)) == comment


# https://docs.aws.amazon.com/athena/latest/ug/data-types.html
_ATHENA_TYPES = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("ms", tz="UTC"): "timestamp",
}


def athena_type(stored: pa.DataType) -> str:
    """The type under which Athena reads what a Parquet file stores."""
    if pa.types.is_struct(stored):
        return f"struct<{','.join(f'{part.name}:{athena_type(part.type)}' for part in stored)}>"
    if pa.types.is_list(stored):
        return f"array<{athena_type(stored.value_type)}>"
    return _ATHENA_TYPES[stored]


@settings(max_examples=50, deadline=None)
@given(documents)
def test_each_column_of_any_contract_has_the_type_that_the_parser_stores(document: Any) -> None:
    contract = contracts.parse("test", json.dumps(document))
    stored = pa.schema(arrow_schema(contract))
    expected = {f.column: glue_type(f.schema) for f in (*contract.fields, *ROW_FIELDS)}
    assert {part.name: athena_type(part.type) for part in stored} == expected


def test_the_table_has_the_contracts_columns_then_the_pipelines_with_comments(
    template: Template, resources: Resources
) -> None:
    contract = contracts.load("telemetry")
    tables = tables_of(template, resources)
    columns = tables["telemetry"]["StorageDescriptor"]["Columns"]
    expected = [field.column for field in (*contract.fields, *ROW_FIELDS)]
    assert [column["Name"] for column in columns] == expected
    assert all(column["Comment"] for column in columns)
    assert {"Name": "temperature", "Type": "double", "Comment": "Air temperature. [Cel]"} in columns
    daily, live = (tables[name]["StorageDescriptor"] for name in ("telemetry_daily", "telemetry"))
    assert daily | {"Location": None} == live | {"Location": None}


def test_rejected_lines_have_a_table_of_their_own(template: Template, resources: Resources) -> None:
    table = tables_of(template, resources)["telemetry_rejected"]
    columns = table["StorageDescriptor"]["Columns"]
    assert [column["Name"] for column in columns] == [field.column for field in REJECTED_FIELDS]
    assert table["StorageDescriptor"]["SerdeInfo"]["SerializationLibrary"].endswith("JsonSerDe")


@pytest.mark.parametrize("environment", ["dev", "stage", "prod", "local"])
def test_partitions_are_projected_for_the_whole_life_of_the_objects(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    days = CONTEXT["environments"][environment].get("parsed_retention_days", 35)
    tables = tables_of(template_of(environment), resources)
    for name in ("telemetry", "telemetry_rejected"):
        table = tables[name]
        parameters = table["Parameters"]
        assert parameters["projection.enabled"] == "true"
        assert parameters["projection.dt.range"] == f"NOW-{days}DAYS,NOW"
        assert parameters["projection.hour.range"] == "0,23"
        assert parameters["projection.hour.digits"] == "2"
        folder = "rejected" if name.endswith("_rejected") else "parsed"
        template_text = parameters["storage.location.template"]["Fn::Join"][1]
        assert template_text[-1] == f"/{folder}/telemetry/dt=${{dt}}/hour=${{hour}}/"
        assert [key["Name"] for key in table["PartitionKeys"]] == ["dt", "hour"]


@pytest.mark.parametrize("environment", ["dev", "stage", "prod", "local"])
def test_days_are_projected_from_the_daily_retention_to_tomorrow(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    days = CONTEXT["environments"][environment].get("daily_retention_days", 1095)
    table = tables_of(template_of(environment), resources)["telemetry_daily"]
    parameters = table["Parameters"]
    assert parameters["projection.enabled"] == "true"
    assert parameters["projection.day.type"] == "date"
    assert parameters["projection.day.format"] == "yyyy-MM-dd"
    assert parameters["projection.day.range"] == f"NOW-{days}DAYS,NOW+1DAYS"
    template_text = parameters["storage.location.template"]["Fn::Join"][1]
    assert template_text[-1] == "/daily/telemetry/day=${day}/"
    assert [key["Name"] for key in table["PartitionKeys"]] == ["day"]


def test_queries_have_a_limit_and_a_place_for_results_that_nobody_can_override(
    template: Template, resources: Resources
) -> None:
    (workgroup,) = resources(template, "AWS::Athena::WorkGroup")
    configuration = workgroup["WorkGroupConfiguration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["BytesScannedCutoffPerQuery"] == 100 * 2**30
    result = configuration["ResultConfiguration"]
    assert result["EncryptionConfiguration"] == {"EncryptionOption": "SSE_S3"}
    assert result["OutputLocation"]["Fn::Join"][1][0] == "s3://"
