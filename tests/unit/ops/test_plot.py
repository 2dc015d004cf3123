"""ops.plot: a column over time, as lines for a terminal."""

import re
import time
from datetime import datetime, timedelta

import pytest

from ops.athena import Answer, Column
from ops.plot import MOST_SERIES, Plot, PlotError, plot

START = datetime.fromisoformat("2026-11-25 10:00:00")
COLUMNS = (
    Column("received_at", "timestamp"),
    Column("thing_name", "varchar"),
    Column("temperature", "double"),
)


def rows(count: int, *, thing: str | None = "sensor-1", value: str = "") -> list[list[str | None]]:
    return [
        [f"{START + timedelta(minutes=n)}.000", thing, value or str(20 + n % 7)]
        for n in range(count)
    ]


def drawn(found: list[list[str | None]], *, width: int = 80, in_colors: bool = False) -> Plot:
    return plot(Answer(COLUMNS, found), "temperature", width=width, height=10, in_colors=in_colors)


def dots(text: str) -> int:
    """Dots of the braille characters."""
    return sum((ord(c) - 0x2800).bit_count() for c in text if 0x2800 <= ord(c) <= 0x28FF)


def test_draws_the_values_between_the_first_and_the_last_time() -> None:
    found = drawn(rows(120))
    assert found.points == 120
    assert found.left_out == found.series_left_out == 0
    assert dots(found.text) > 100
    assert found.text.splitlines()[-1] == (
        "temperature, sensor-1, 2026-11-25 10:00:00Z to 2026-11-25 11:59:00Z"
    )
    assert "10:00:00" in found.text


def test_the_order_of_the_rows_does_not_matter() -> None:
    assert drawn(rows(50)) == drawn(rows(50)[::-1])


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_a_line_is_no_wider_than_the_terminal(width: int) -> None:
    lines = drawn(rows(30), width=width).text.splitlines()[:-1]
    assert max(map(len, lines)) <= max(width, 50)


def test_a_higher_value_is_drawn_higher() -> None:
    rising: list[list[str | None]] = [
        [str(START + timedelta(minutes=n)), "a", str(n)] for n in range(60)
    ]
    lines = [line.partition("|")[2] for line in drawn(rising).text.splitlines()]
    # Where the first dot of each line is, from top to bottom.
    starts = [at for line in lines if (at := next((i for i, c in enumerate(line) if dots(c)), 0))]
    assert len(starts) > 5
    assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize(
    "found", [rows(1), rows(2, value="5"), [*rows(1), *rows(1)], rows(1, value="0")]
)
def test_one_point_and_a_constant_are_drawn(found: list[list[str | None]]) -> None:
    assert dots(drawn(found).text) >= 1


@pytest.mark.parametrize(
    ("moment", "value"),
    [
        (None, "1"),
        ("", "1"),
        ("yesterday", "1"),
        ("2026-13-45 10:00:00", "1"),
        ("2026-11-25 10:00:00", None),
        ("2026-11-25 10:00:00", "NaN"),
        ("2026-11-25 10:00:00", "Infinity"),
        ("2026-11-25 10:00:00", "-inf"),
        ("2026-11-25 10:00:00", "warm"),
        ("2026-11-25 10:00:00", ""),
    ],
)
def test_a_row_without_a_time_or_a_number_is_left_out_and_counted(
    moment: str | None, value: str | None
) -> None:
    found = drawn([*rows(5), [moment, "sensor-1", value]])
    assert (found.points, found.left_out) == (5, 1)


@pytest.mark.parametrize(
    "found",
    [
        [],
        [[None, "a", None]],
        [[str(START), "a", "1e308"], [str(START + timedelta(1)), "a", "-1e308"]],
    ],
)
def test_what_cannot_be_drawn_is_an_error(found: list[list[str | None]]) -> None:
    with pytest.raises(PlotError):
        drawn(found)


@pytest.mark.parametrize("moment", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"])
def test_the_first_and_the_last_time_that_there_is_are_drawn_or_refused(moment: str) -> None:
    with pytest.raises(PlotError, match="times are too early or too late"):
        drawn([[moment, "a", "1"]])
    assert drawn([[moment, "a", "1"], [str(START), "a", "2"]]).points == 2


@pytest.mark.parametrize("field", ["thing_name", "received_at", "nope", ""])
def test_a_field_that_is_no_number_names_those_that_are(field: str) -> None:
    with pytest.raises(PlotError, match=r"numbers of the answer \(temperature\)"):
        plot(Answer(COLUMNS, rows(2)), field, width=80, height=10, in_colors=False)


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (("dt", "hour"), [["2026-11-25", str(hour)] for hour in range(24)]),
        (("dt",), [[f"2026-11-{day}", None] for day in range(10, 20)]),
        (("day",), [[f"2026-11-{day}", None] for day in range(10, 20)]),
    ],
)
def test_partitions_are_times_too(names: tuple[str, ...], values: list[list[str | None]]) -> None:
    columns = (*(Column(name, "varchar") for name in names), Column("readings", "bigint"))
    found = [[*value[: len(names)], "7"] for value in values]
    one = plot(Answer(columns, found), "readings", width=80, height=10, in_colors=False)
    assert one.points == len(values)


def test_an_answer_without_a_time_is_an_error() -> None:
    answer = Answer((Column("readings", "bigint"),), [["1"]])
    with pytest.raises(PlotError, match="expected a column with a time"):
        plot(answer, "readings", width=80, height=10, in_colors=False)


def test_an_offset_is_taken_into_account() -> None:
    found = drawn([["2026-11-25 12:00:00+02:00", "a", "1"], ["2026-11-25 10:30:00 UTC", "a", "1"]])
    assert "2026-11-25 10:00:00Z to 2026-11-25 10:30:00Z" in found.text


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_times_are_in_utc_wherever_the_terminal_is(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        (axis,) = (line for line in drawn(rows(60)).text.splitlines() if "10:00:00 " in line)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "10:00:00" < axis.split()[-1] < "11:00:00"


def test_each_thing_has_its_line_and_without_colours_its_number() -> None:
    found = drawn([*rows(20), *rows(20, thing="sensor-2", value="40")])
    assert "⠤1⠤ sensor-1" in found.text
    assert "⠤2⠤ sensor-2" in found.text
    assert "\x1b" not in found.text
    assert found.points == 40


def test_things_that_cannot_be_told_apart_are_left_out_and_counted() -> None:
    things = [row for n in range(MOST_SERIES + 3) for row in rows(n + 1, thing=f"sensor-{n}")]
    found = drawn(things)
    assert found.series_left_out == 3
    assert "sensor-0" not in found.text
    assert f"sensor-{MOST_SERIES + 2}" in found.text


def test_a_million_rows_take_no_longer_than_what_can_be_seen() -> None:
    found = drawn(rows(20_000))
    assert found.points == 20_000
    assert dots(found.text) > 100


def test_nothing_in_a_value_controls_the_terminal() -> None:
    columns = (COLUMNS[0], COLUMNS[1], Column("\x1b[2J", "double"))
    answer = Answer(columns, [*rows(3, thing="\x1b[31m\x9b"), *rows(3, thing="b\n")])
    found = plot(answer, "\x1b[2J", width=80, height=10, in_colors=False)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", found.text)


def test_with_colours_each_line_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # plotille looks whether stdout is a terminal
    found = drawn([*rows(20), *rows(20, thing="sensor-2", value="40")], in_colors=True)
    colours = set(re.findall(r"\x1b\[(\d+)m", found.text)) - {"0"}
    assert len(colours) == 2
