"""Format the answer to a query: a table for people, CSV for programs."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

from ops.athena import Answer, Column

_UNLIMITED = 1_000_000
_GAP = 3  # between two columns of a table
_NARROW, _LEAST = 26, 16  # a column wider than _NARROW may be folded, down to _LEAST

# Certificate ids, trace ids and the like: their beginning is enough to recognize them.
_ID = re.compile(r"(?i)[0-9a-f]{32,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID_SHOWN = 8

# A time in UTC, to the millisecond. All our timestamps without a zone are in UTC.
_UTC = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{3})?)0*(?: UTC|\+00:00)?")


def select(answer: Answer, names: Sequence[str]) -> Answer:
    """Select these columns of the answer, in this order.

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


def widths(answer: Answer, width: int) -> list[int]:
    """The widths of the first columns, as many as fit into ``width`` characters.

    Narrow columns get what they need. Wide ones share the rest, and their values are folded.
    """
    needed = [
        max(
            cell_len(text)
            for text in (printable(column.name), *(_shown(column, row[at]) for row in answer.rows))
        )
        for at, column in enumerate(answer.columns)
    ]
    found: list[int] = []
    room = width + _GAP
    for wanted in needed:
        least = wanted if wanted <= _NARROW else _LEAST
        if room < least + _GAP:
            break
        room -= least + _GAP
        found.append(least)
    if not found:
        return [min(width, *needed[:1])]
    folded = sorted(
        (at for at, least in enumerate(found) if least < needed[at]), key=needed.__getitem__
    )
    for place, at in enumerate(folded):
        more = min(needed[at] - found[at], room // (len(folded) - place))
        found[at] += more
        room -= more
    return found


def table_text(answer: Answer, column_widths: Sequence[int] | None = None) -> str:
    """The answer as a table. Values are complete, but ids are shortened.

    Args:
        answer: At least one column.
        column_widths: Widths of the columns to show; None shows all columns in full width.
    """
    shown = widths(answer, _UNLIMITED) if column_widths is None else column_widths
    table = Table(show_edge=False, pad_edge=False)
    for column, width in zip(answer.columns, shown, strict=False):
        justify: JustifyMethod = "right" if column.is_number else "left"
        table.add_column(printable(column.name), justify=justify, overflow="fold", width=width)
    for row in answer.rows:
        table.add_row(*map(_shown, answer.columns[: len(shown)], row[: len(shown)]))
    out = io.StringIO()
    # Text, not markup: a device's value may contain anything.
    console = Console(file=out, width=_UNLIMITED, markup=False, highlight=False, emoji=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def plain_text(answer: Answer) -> str:
    """The answer to EXPLAIN, SHOW or DESCRIBE as text, with its line breaks."""
    lines = ("  ".join(value or "" for value in row).splitlines() or [""] for row in answer.rows)
    return "\n".join(printable(line).rstrip() for group in lines for line in group)


def _shown(column: Column, value: str | None) -> str:
    if value is None:
        return "NULL"
    if column.type.startswith("timestamp") and (moment := _UTC.fullmatch(value)):
        return f"{moment[1]}Z"
    return printable(_ID.sub(value[:_ID_SHOWN] + "…", value) if _ID.fullmatch(value) else value)


def printable(text: str) -> str:
    """Escape control characters, so that no value of a device can control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_text(answer: Answer, *, for_terminal: bool) -> str:
    """The answer as CSV: null is an empty cell, an empty string is ``""``.

    Args:
        answer: All its values are printed in full.
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
