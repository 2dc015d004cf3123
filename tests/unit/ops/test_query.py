"""ops.query: how answers become text, and how the command line is checked."""

import json
from decimal import Decimal

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ops.query import NAMED, Answer, Column, main, table_text


def answer(*columns: Column, rows: list[list[str | None]]) -> Answer:
    return Answer(columns, rows, scanned_bytes=0, seconds=0.0)


def test_records_have_json_types() -> None:
    columns = (
        Column("i", "bigint"),
        Column("d", "double"),
        Column("n", "double"),
        Column("b", "boolean"),
        Column("m", "decimal"),
        Column("s", "varchar"),
        Column("z", "bigint"),
    )
    rows: list[list[str | None]] = [
        ["9223372036854775807", "1.5", "NaN", "false", "1.10", "7", None]
    ]
    (record,) = answer(*columns, rows=rows).records()
    assert record == {
        "i": 2**63 - 1,
        "d": 1.5,
        "n": "NaN",
        "b": False,
        "m": Decimal("1.10"),
        "s": "7",
        "z": None,
    }


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_value_of_a_device_can_control_the_terminal(values: list[str]) -> None:
    text = table_text(answer(Column("value", "varchar"), rows=[[value] for value in values]))
    assert all(character.isprintable() or character == "\n" for character in text)


def test_markup_in_a_value_is_shown_as_it_is() -> None:
    text = table_text(answer(Column("value", "varchar"), rows=[["[red]x[/]"]]))
    assert "[red]x[/]" in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--env", "local"],
        ["SELECT 1"],
        ["SELECT 1", "--named", "latest", "--env", "local"],
        ["--named", "oldest", "--env", "local"],
        ["SELECT 1", "--env", "local", "--format", "xml"],
    ],
)
def test_a_command_line_that_says_too_little_or_too_much_is_a_usage_error(
    arguments: list[str],
) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Error: " in result.output


@pytest.mark.parametrize("channel", ["nope", "telemetry; DROP TABLE telemetry", ""])
def test_a_channel_that_has_no_table_is_refused(channel: str) -> None:
    arguments = ["--named", "latest", "--env", "local", "--channel", channel]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "is not 'telemetry'" in result.output


def test_an_unknown_environment_is_one_line() -> None:
    result = CliRunner().invoke(main, ["SELECT 1", "--env", "production"])
    assert result.exit_code != 0
    assert result.output.startswith("error: expected an environment of cdk.json (")
    assert len(result.output.splitlines()) == 1


def test_every_named_query_is_listed_with_what_it_tells() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == list(NAMED)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_query_reads_a_few_days_only(name: str) -> None:
    sql = NAMED[name][1].format(table="telemetry", yesterday="2026-11-21")
    assert "dt >= '2026-11-21'" in sql


def test_json_output_is_one_object_a_line_even_with_decimals() -> None:
    (record,) = answer(Column("m", "decimal"), rows=[["1.10"]]).records()
    assert json.loads(json.dumps(record, default=str)) == {"m": "1.10"}
