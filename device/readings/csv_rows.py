"""Readings from a CSV file: one per row, in the fields that the header names.

A column named ``wind.speed`` is the field ``speed`` of the object ``wind``. An empty cell is an
absent field. It is null where the contract requires a field that may be null, if the row has the
object that the field belongs to. ``device.readings.cells`` says how a cell is read. A column that
the contract does not know is text.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from itertools import chain
from typing import Any, BinaryIO, Self

from contracts import PARTITION_COLUMNS, ROW_FIELDS, Contract, Field
from device import compact_json
from device.readings import cells, times
from device.readings.files import DamagedFileError
from device.readings.sources import Payload, Unusable

DELIMITERS = ",;\t|"

# The first line with which Excel names the delimiter of the lines after it.
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

# Longer than any reading may be. Without a limit, a file that is not text would fill the memory.
_LONGEST_LINE_CHARACTERS = 1 << 20

# The columns that the pipeline adds to a row; no contract may use these names.
_ROW_COLUMNS = frozenset({*(field.name for field in ROW_FIELDS), *PARTITION_COLUMNS, "day"})
# Files that people made have none of these columns.
_TABLE_ONLY = frozenset({"raw_key", "raw_line", "reading_index"})


class HeaderError(ValueError):
    """The file's header cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvOptions:
    """How to read a CSV file.

    Attributes:
        delimiter: Between cells. By default the one of ``DELIMITERS`` with which the header has
            the most names that the contract knows, or a comma.
        time_zone: Of times without an offset; None refuses them.
        fields: Column to field, for columns that are named differently.
    """

    delimiter: str | None = None
    time_zone: tzinfo | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _CsvColumn:
    """Where the cells of a column go in a reading, and how they are read.

    Attributes:
        steps: Names from the reading down to the field; empty if the column is left out.
        read: Turns a cell into a value.
        null_in: Names down to the innermost object around the field that may be absent; a reading
            that has this object gets null for an empty cell. None if an empty cell is an absent
            field.
    """

    steps: tuple[str, ...] = ()
    read: Callable[[str], Any] = str
    null_in: tuple[str, ...] | None = None


class CsvRows:
    """The readings of a CSV file, in order: an iterator of ``Payload`` and ``Unusable``.

    A row is numbered by the line on which it begins.

    Args:
        file: UTF-8, read as it is asked for; its header is read at once.
        contract: Of the readings.
        options: How to read it.

    Attributes:
        left_out: Columns that the pipeline itself adds to a table, and that are not sent again.
        is_from_table: The file is the result of a query: times without an offset are in UTC, and
            names of fields may be in lower case.

    Raises:
        HeaderError: Two columns give the same field, or a column of ``options.fields`` is missing
            or given to no field of the contract.
        DamagedFileError: Not even the header can be read.
    """

    def __init__(self, file: BinaryIO, contract: Contract, options: CsvOptions) -> None:
        # Bytes that are not UTF-8 become surrogates: they must cost their own row only.
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        self._lines = _Lines(text)
        self._known = dict(_paths(contract.fields))
        try:
            first = self._first_line()
            named = _SEPARATOR.fullmatch(first)
            if named is not None:
                first = self._first_line()
            delimiter = options.delimiter or (
                named[1] if named else self._likely_delimiter(first, options.fields)
            )
            self._rows = csv.reader(chain([first], self._lines), delimiter=delimiter, strict=True)
            header = next(self._rows, [])
        except csv.Error as error:
            raise HeaderError(f"expected a CSV header on line 1: {error}") from None
        names = [name.strip() for name in header]
        self.is_from_table = not _TABLE_ONLY.isdisjoint(names)
        self.left_out = [
            name
            for name in names
            if name in _ROW_COLUMNS and name not in self._known and name not in options.fields
        ]
        self._zone = options.time_zone or (UTC if self.is_from_table else None)
        self._columns = self._layout(names, options.fields, contract.channel)
        self._nullable = [
            (index, column)
            for index, column in enumerate(self._columns)
            if column.null_in is not None
        ]

    def _first_line(self) -> str:
        return next((line for line in self._lines if line.strip()), "")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Payload | Unusable:
        while True:
            line = self._lines.number + 1
            try:
                row = next(self._rows)
            except csv.Error as error:
                last = self._lines.number
                until = f", in a row that ends on line {last}" if last > line else ""
                return Unusable(line, f"expected CSV: {error}{until}")
            except DamagedFileError as error:
                self._rows = csv.reader(())
                return Unusable(line, str(error))
            if row:
                return self._reading(line, row)

    def _reading(self, line: int, row: list[str]) -> Payload | Unusable:
        if len(row) != len(self._columns):
            expected = f"expected {len(self._columns)} cells, as in the header"
            return Unusable(line, f"{expected}, got {len(row)}")
        reading: dict[str, Any] = {}
        for column, cell in zip(self._columns, row, strict=True):
            if not cell or not column.steps:
                continue
            try:
                _put(reading, column.steps, column.read(cell))
            except times.TimeError as error:
                return Unusable(line, f"$.{'.'.join(column.steps)}: {error}")
        for index, column in self._nullable:
            if not row[index] and _has(reading, column.null_in):
                _put(reading, column.steps, None)
        try:
            return Payload(line, compact_json.encode(reading))
        except UnicodeEncodeError:
            return Unusable(line, "expected UTF-8")

    def _likely_delimiter(self, first: str, fields: Mapping[str, str]) -> str:
        """Return the delimiter that splits the header into the most known names."""
        names = self._known.keys() | _ROW_COLUMNS | fields.keys()

        def known(delimiter: str) -> int:
            try:
                (header,) = csv.reader([first], delimiter=delimiter)
            except (csv.Error, ValueError):
                return 0
            return sum(name.strip() in names for name in header)

        return max(DELIMITERS, key=known)

    def _layout(
        self, names: list[str], fields: Mapping[str, str], channel: str
    ) -> list[_CsvColumn]:
        self._check_names(names, fields, channel)
        by_column = {path.lower(): path for path in self._known}
        columns, given = list[_CsvColumn](), dict[tuple[str, ...], str]()
        for name in names:
            if name in self.left_out:
                columns.append(_CsvColumn())
                continue
            path = fields.get(name, name)
            if self.is_from_table and path not in self._known:
                path = by_column.get(path, path)
            steps = self._steps(path)
            for other, column in given.items():
                shorter = min(len(steps), len(other))
                if steps[:shorter] == other[:shorter]:
                    raise HeaderError(
                        f"expected one column for each field, got {_shown(column)} and "
                        f"{_shown(name)} for the same one"
                    )
            given[steps] = name
            columns.append(self._column(path, steps))
        return columns

    def _check_names(self, names: list[str], fields: Mapping[str, str], channel: str) -> None:
        for column, path in fields.items():
            if column not in names:
                raise HeaderError(
                    f"expected a column named {_shown(column)}, got {', '.join(map(_shown, names))}"
                )
            if path not in self._known:
                raise HeaderError(
                    f"expected a field of the contract {channel} for column {_shown(column)} "
                    f"({', '.join(self._known)}), got {_shown(path)}"
                )
        for name, count in Counter(names).items():
            if count > 1:
                raise HeaderError(
                    f"expected every column once, got {_shown(name)} {count} times in the header"
                )
            try:
                name.encode()
            except UnicodeEncodeError:
                raise HeaderError(
                    f"expected a header in UTF-8, got column {names.index(name) + 1} that is not"
                ) from None

    def _steps(self, path: str) -> tuple[str, ...]:
        """Return the names down to a field; only objects of the contract have fields inside."""
        parent = path.rpartition(".")[0]
        if path in self._known or (parent in self._known and self._known[parent].schema.fields):
            return tuple(path.split("."))
        return (path,)

    def _column(self, path: str, steps: tuple[str, ...]) -> _CsvColumn:
        known = self._known.get(path)
        if known is None:
            return _CsvColumn(steps)
        null_in = None
        if known.required and known.schema.nullable:
            null_in = steps[:-1]
            while null_in and self._known[".".join(null_in)].required:
                null_in = null_in[:-1]
        return _CsvColumn(steps, cells.reader(known.schema, self._zone), null_in)


class _Lines:
    """The lines of a file, numbered. A line longer than any reading is a ``csv.Error``."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(_LONGEST_LINE_CHARACTERS)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST_LINE_CHARACTERS and line[-1] not in "\r\n":
            while line and line[-1] not in "\r\n":
                line = self._text.readline(_LONGEST_LINE_CHARACTERS)
            raise csv.Error(f"a line has more than {_LONGEST_LINE_CHARACTERS} characters")
        return line


def _put(reading: dict[str, Any], steps: tuple[str, ...], value: Any) -> None:
    for step in steps[:-1]:
        reading = reading.setdefault(step, {})
    reading[steps[-1]] = value


def _has(reading: dict[str, Any], steps: tuple[str, ...] | None) -> bool:
    inner: dict[str, Any] | None = reading
    for step in steps or ():
        inner = inner and inner.get(step)
    return inner is not None


def _paths(fields: Sequence[Field], parent: str = "") -> Iterator[tuple[str, Field]]:
    """Yield each field with its dotted path, the fields of objects too."""
    for known in fields:
        path = f"{parent}{known.name}"
        yield path, known
        yield from _paths(known.schema.fields, f"{path}.")


def _shown(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
