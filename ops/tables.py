"""Print the answer of a query: a table for people, CSV for programs."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ops.athena import Answer

_UNLIMITED = 10_000
_WIDEST_CELL = 60
_GAP = 3  # between two columns of a table

# Certificate ids, trace ids and the like: nobody compares more than their beginning by eye.
_ID = re.compile(r"(?i)[0-9a-f]{32,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID_SHOWN = 8


def select(answer: Answer, names: Sequence[str]) -> Answer:
    """The answer with only these columns, in this order.

    Raises:
        KeyError: There is no column of that name.
    """
    places = {column.name: at for at, column in enumerate(answer.columns)}
    wanted = [places[name] for name in names]
    return replace(
        answer,
        columns=tuple(answer.columns[at] for at in wanted),
        rows=[[row[at] for at in wanted] for row in answer.rows],
    )


def fitting(answer: Answer, width: int) -> Answer:
    """The answer with only its first columns, as many as ``width`` characters have room for."""
    room, shown = width, 0
    for at, column in enumerate(answer.columns):
        cells = (_shown(row[at]) for row in answer.rows)
        widest = max([cell_len(printable(column.name)), *map(cell_len, cells)])
        room -= min(widest, _WIDEST_CELL) + _GAP * bool(at)
        if room < 0:
            break
        shown += 1
    return select(answer, [column.name for column in answer.columns[: max(shown, 1)]])


def table_text(answer: Answer, width: int | None = None) -> str:
    """The answer for a person.

    Args:
        answer: Its values are shown whole, but for ids, which are shortened.
        width: In characters, to which long values are folded; None if there is no limit.
    """
    table = Table(show_edge=False, pad_edge=False)
    for column in answer.columns:
        table.add_column(
            printable(column.name),
            justify="right" if column.is_number else "left",
            overflow="fold",
            max_width=None if width is None else _WIDEST_CELL if len(answer.columns) > 1 else width,
        )
    for row in answer.rows:
        table.add_row(*map(_shown, row))
    out = io.StringIO()
    widest = _UNLIMITED if width is None else width
    # Text, not markup: a device's value may contain anything.
    Console(file=out, width=widest, markup=False, highlight=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def plain_text(answer: Answer) -> str:
    """The answer of EXPLAIN, SHOW or DESCRIBE, which is a text, with its line breaks."""
    lines = ("  ".join(value or "" for value in row).splitlines() or [""] for row in answer.rows)
    return "\n".join(printable(line).rstrip() for group in lines for line in group)


def _shown(value: str | None) -> str:
    if value is None:
        return "NULL"
    return printable(_ID.sub(value[:_ID_SHOWN] + "…", value) if _ID.fullmatch(value) else value)


def printable(text: str) -> str:
    """Escape control characters, so that no value of a device can control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_text(answer: Answer, *, for_terminal: bool) -> str:
    """The answer as CSV: null is nothing, an empty string is ``""``.

    Args:
        answer: Its values are whole.
        for_terminal: Escape control characters.
    """
    if not answer.columns:
        return ""
    rows: list[Sequence[str | None]] = [[column.name for column in answer.columns], *answer.rows]
    return "".join(",".join(_field(value, for_terminal) for value in row) + "\n" for row in rows)


def _field(value: str | None, for_terminal: bool) -> str:
    if value is None:
        return ""
    if for_terminal:
        value = printable(value)
    if value == "" or re.search(r'[",\r\n]|^\s|\s$', value):
        return '"' + value.replace('"', '""') + '"'
    return value
