"""ops.tables: how an answer becomes text."""

import csv
import io
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from device import cli
from ops import tables
from ops.athena import Answer, Column

ID = "0123456789abcdef" * 4
UUID = "01234567-89ab-cdef-0123-456789abcdef"


def answer(*names: str, rows: list[list[str | None]]) -> Answer:
    return Answer(tuple(Column(name, "varchar") for name in names), rows)


def names(of: Answer) -> list[str]:
    return [column.name for column in of.columns]


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_value_of_a_device_can_control_the_terminal(values: list[str]) -> None:
    found = answer("value", rows=[[value] for value in values])
    for text in (
        tables.table_text(found),
        tables.table_text(found, tables.widths(found, 40)),
        tables.plain_text(found),
        tables.csv_text(found, for_terminal=True),
        "\n".join(map(cli.json_line, found.records())),
    ):
        assert all(character.isprintable() or character == "\n" for character in text)


@given(st.lists(st.lists(st.none() | st.text(), min_size=2, max_size=2), max_size=5))
def test_json_holds_every_value(rows: list[list[str | None]]) -> None:
    found = answer("a", "b", rows=rows)
    for ascii_only in (True, False):
        lines = [cli.json_line(record, ascii_only=ascii_only) for record in found.records()]
        assert [list(json.loads(line).values()) for line in lines] == rows


@given(st.lists(st.lists(st.none() | st.text(), min_size=2, max_size=2), max_size=5))
def test_csv_holds_every_value(rows: list[list[str | None]]) -> None:
    text = tables.csv_text(answer("a", "b", rows=rows), for_terminal=False)
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [["a", "b"], *([value or "" for value in row] for row in rows)]


def test_csv_tells_null_from_an_empty_string() -> None:
    found = answer("a", "b", rows=[[None, ""], ["", None]])
    assert tables.csv_text(found, for_terminal=False) == 'a,b\n,""\n"",\n'


def test_csv_of_an_answer_without_columns_is_empty() -> None:
    assert tables.csv_text(answer(rows=[]), for_terminal=False) == ""


def test_a_decimal_keeps_its_digits_in_json() -> None:
    found = Answer((Column("m", "decimal"),), [["1.10"]])
    assert list(found.records()) == [{"m": Decimal("1.10")}]
    assert cli.json_line(next(found.records())) == '{"m": "1.10"}'


def test_a_table_tells_null_from_an_empty_string() -> None:
    lines = tables.table_text(answer("a", "b", rows=[["x", None], ["y", ""]])).splitlines()
    assert [line.split() for line in lines[-2:]] == [["x", "│", "NULL"], ["y", "│"]]


def test_markup_in_a_value_is_shown_as_it_is() -> None:
    assert "[red]x[/] :smile:" in tables.table_text(answer("v", rows=[["[red]x[/] :smile:"]]))


@pytest.mark.parametrize("value", [ID, ID.upper(), ID[:32], UUID])
def test_an_id_is_shortened_in_a_table_and_whole_elsewhere(value: str) -> None:
    found = answer("id", rows=[[value]])
    assert tables.table_text(found).splitlines()[-1] == f"{value[:8]}…"
    assert value in tables.csv_text(found, for_terminal=True)
    assert value in cli.json_line(next(found.records()))


@pytest.mark.parametrize("value", [ID[:31], f"id {ID}", "2026-11-25 05:00:00.000", "9" * 19])
def test_what_is_no_id_is_whole_in_a_table(value: str) -> None:
    assert value in tables.table_text(answer("value", rows=[[value]]))


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("timestamp", "2026-11-25 05:58:38.919", "2026-11-25 05:58:38.919Z"),
        ("timestamp", "2026-11-25 05:58:38.919000+00:00", "2026-11-25 05:58:38.919Z"),
        ("timestamp with time zone", "2026-11-25 05:58:38.919 UTC", "2026-11-25 05:58:38.919Z"),
        ("timestamp", "2026-11-25 05:58:38", "2026-11-25 05:58:38Z"),
        ("timestamp", "2026-11-25 05:58:38.919123", "2026-11-25 05:58:38.919123"),
        ("timestamp with time zone", "2026-11-25 05:58:38.919 Asia/Tokyo", None),
        ("varchar", "2026-11-25 05:58:38.919", None),
    ],
)
def test_a_table_shows_times_in_one_form(kind: str, value: str, shown: str | None) -> None:
    found = Answer((Column("at", kind),), [[value]])
    assert tables.table_text(found).splitlines()[-1] == (shown or value)
    assert tables.csv_text(found, for_terminal=False) == f"at\n{value}\n"


def shown(found: Answer, width: int) -> list[str]:
    lines = tables.table_text(found, tables.widths(found, width)).splitlines()
    assert max(map(cell_len, lines)) <= width
    return lines


def test_a_table_shows_as_many_columns_as_fit() -> None:
    found = answer("a", "b", "c", rows=[["x" * 10, "y" * 10, "z" * 10]])
    for width, columns in ((36, 3), (35, 2), (23, 2), (22, 1), (10, 1), (9, 1), (1, 1)):
        assert len(tables.widths(found, width)) == columns, width
        assert "".join(shown(found, width)).count("y") == (10 if columns > 1 else 0)


def test_wide_characters_take_two_columns_of_the_terminal() -> None:
    found = answer("a", "b", rows=[["温度", "x"]])
    assert tables.widths(found, 8) == [4, 1]
    assert tables.widths(found, 7) == [4]


def test_wide_columns_share_the_room_that_narrow_ones_leave() -> None:
    found = answer("a", "b", "c", rows=[["ten chars.", "x" * 90, "y" * 40]])
    assert tables.widths(found, 80) == [10, 32, 32]
    assert tables.widths(found, 110) == [10, 54, 40]
    assert tables.widths(found, 200) == [10, 90, 40]
    assert tables.widths(answer("a", "b", rows=[["x", "y"]]), 80) == [1, 1]


def test_a_long_value_is_folded_and_whole() -> None:
    value = "".join(chr(ord("a") + number % 26) for number in range(500))
    for found in (answer("v", rows=[[value]]), answer("a", "v", rows=[["x", value]])):
        lines = shown(found, 80)
        assert value in "".join(line.split("│")[-1].strip() for line in lines)


def test_a_value_of_any_length_is_on_one_line_where_there_is_no_limit() -> None:
    value = "x" * 100_000
    assert tables.table_text(answer("v", rows=[[value]])).splitlines()[-1] == value


def test_a_line_break_in_a_value_stays_in_its_row() -> None:
    text = tables.table_text(answer("v", rows=[["one\ntwo"]]))
    assert text.splitlines()[-1] == "one\\ntwo"


def test_a_plan_keeps_its_line_breaks() -> None:
    plan = answer("Query Plan", rows=[["Output\n  - Scan\x1b[2J"], ["end"]])
    assert tables.plain_text(plan) == "Output\n  - Scan\\x1b[2J\nend"


def test_columns_are_chosen_by_name_and_in_order() -> None:
    chosen = tables.select(answer("a", "b", "c", rows=[["1", "2", "3"]]), ["c", "a"])
    assert (names(chosen), chosen.rows) == (["c", "a"], [["3", "1"]])
    with pytest.raises(KeyError, match="d"):
        tables.select(answer("a", rows=[]), ["d"])
