"""Sort an hour's rows in bounded memory, with DuckDB.

Why DuckDB: it sorts more rows than fit into its memory, and its result is a stream. polars and
pyarrow hold all rows in memory. Why it does not write the files as well: its Parquet loses the
fields' metadata, their nullability and the milliseconds; the parser's writer keeps them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader, Table
from arro3.core import Field as ArrowField

from contracts import Contract, time_field
from telemetry_parser.parquet import arrow_schema
from telemetry_rebuild.hours import DAY_MS, Hour
from telemetry_rebuild.parsing import ParsedHour
from telemetry_rebuild.plan import Part, SortGroup, divided, most_rows, parts
from telemetry_rebuild.repetitions import Repetitions

# Whole days before 1970 that keep the dividend positive, as DuckDB's // rounds towards zero.
_DAYS_BEFORE = 1_000_000

_TIMESTAMP = DataType.timestamp("ms", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a sort may use; none of it changes the result.

    Attributes:
        memory_mebibytes: What DuckDB uses before it writes to disk. The process needs about
            250 MiB more.
        threads: Each needs memory of its own.
        folder: Where DuckDB writes what exceeds the memory.
    """

    memory_mebibytes: int = 512
    threads: int = 1
    folder: Path


class Sorter:
    """Sorts the rows of one hour by day, thing, time and raw position; to be closed.

    Args:
        retention_days: A reading whose own time is more days before the hour, or more than a day
            after it, has an implausible time and belongs to the hour's own day.
        rows_per_sort: Sort at most so many rows at a time; by default as many as the disk of a
            Lambda function holds.

    Attributes:
        parts: What is sorted together.
        misdated: Readings whose time is implausible.
    """

    def __init__(
        self,
        contract: Contract,
        hour: Hour,
        parsed: ParsedHour,
        *,
        retention_days: int,
        resources: Resources,
        rows_per_sort: int | None = None,
    ) -> None:
        self._schema = arrow_schema(contract)
        self._fields = [self._schema.field(name) for name in self._schema.names]
        # Columns have other names in SQL, so that no field's name means something else there.
        self._sql = {name: f"c{index}" for index, name in enumerate(self._schema.names)}
        field = time_field(contract)
        self._time = None if field is None else field.column
        values = [field.column for field in contract.fields if field.column != self._time]
        self._values = [self._sql[name] for name in (*values, "customer")]
        self._repetitions = Repetitions(self._values)
        self._connection = connect(resources)
        self._keys = Array([key for key, _ in parsed.files], type=DataType.utf8())
        self._source = self._dated(hour, [path for _, path in parsed.files], retention_days)
        self._limit = rows_per_sort or most_rows(parsed.readings, parsed.payload_bytes)
        self.misdated = 0
        self.parts: list[Part] = list(parts(self._groups(), self._limit)) if parsed.files else []

    def close(self) -> None:
        """Free the memory and the disk that it used."""
        self._connection.close()

    @property
    def repeated(self) -> int:
        """Readings that were removed as repetitions so far."""
        return self._repetitions.count

    def sort(self, part: Part) -> Iterator[tuple[int, RecordBatch]]:
        """Yield the rows of ``part`` that are no repetitions, with their day, in order.

        A contract without a required time has no repetitions: nothing tells a repeated reading
        from a new one.
        """
        days = [group.day for group in part]
        things = Array([group.thing_name for group in part], type=DataType.utf8())
        for batch in self._sorted(part):
            kept = batch if self._time is None else self._repetitions.drop(batch)
            start = 0
            while start < kept.num_rows:
                day = days[kept.column("number")[start].as_py()]
                stop = _first_of_group(kept, bisect_right(days, day), start)
                yield day, self._complete(kept.slice(start, stop - start), things)
                start = stop

    def _dated(self, hour: Hour, files: Sequence[Path], retention_days: int) -> str:
        """SQL for the rows of ``files``, with their object's number, own time and day."""
        time = self._sql[self._time or "received_at"]
        first = (hour.day - retention_days) * DAY_MS
        last = hour.end_ms + DAY_MS - 1
        listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
        return (
            f"(SELECT *, CASE WHEN plausible "
            f"THEN (own_ms + {_DAYS_BEFORE * DAY_MS}) // {DAY_MS} - {_DAYS_BEFORE} "
            f"ELSE {hour.day} END AS day FROM ("
            f"SELECT *, own_ms BETWEEN {first} AND {last} AS plausible FROM ("
            f"SELECT *, file_index AS object, epoch_ms({time}) AS own_ms "
            f"FROM read_parquet([{listed}]) AS file({', '.join(self._sql.values())}))))"
        )

    def _groups(self) -> Iterator[SortGroup]:
        thing = self._sql["thing_name"]
        found = self._connection.execute(
            f"SELECT day, {thing}, count(*), count(*) FILTER (NOT plausible) "
            f"FROM {self._source} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        for day, thing_name, rows, misdated in found:
            self.misdated += misdated
            group = SortGroup(day, thing_name, rows)
            if rows <= self._limit:
                yield group
                continue
            counts = self._connection.execute(
                f"SELECT own_ms, count(*) FROM {self._source} "
                f"WHERE day = $1 AND {thing} = $2 GROUP BY ALL ORDER BY ALL",
                [day, thing_name],
            ).fetchall()
            yield from divided(group, counts, self._limit)

    def _sorted(self, part: Part) -> Iterator[RecordBatch]:
        """Sort ``part``: the columns that come from its files, and those that ``drop`` needs."""
        stored = [(self._sql[field.name], self._stored(field)) for field in self._fields]
        columns = "".join(f", {sql} AS {name}" for name, sql in stored if sql)
        names = "".join(f", {name}" for name, sql in stored if sql)
        lines, index = self._sql["raw_line"], self._sql["reading_index"]
        self._connection.register("groups", _table_of(part))
        self._connection.execute("CREATE OR REPLACE TABLE part AS SELECT * FROM groups")
        relation = self._connection.sql(
            f"SELECT number, object, own_ms, hash{names}, "
            "number = lag(number) OVER () AND own_ms = lag(own_ms) OVER () AS follows FROM ("
            "SELECT number, object::UINTEGER AS object, own_ms, "
            f"hash({', '.join(self._values)}) AS hash{columns} "
            f"FROM {self._source} AS dated JOIN part ON part.day = dated.day "
            f"AND thing_name = {self._sql['thing_name']} "
            "AND own_ms BETWEEN start_ms AND end_ms "
            f"ORDER BY number, own_ms, object, {lines}, {index})"
        )
        yield from RecordBatchReader.from_stream(relation)

    def _stored(self, field: ArrowField) -> str | None:
        """SQL for a column that is sorted; None if ``_complete`` makes it from something smaller.

        Times are sorted as integers, and places in an object as 32-bit ones.
        """
        name = self._sql[field.name]
        if field.name in {"thing_name", "raw_key", self._time}:
            return None
        if field.type == _TIMESTAMP:
            return f"epoch_ms({name})"
        if field.name in {"raw_line", "reading_index"}:
            return f"{name}::UINTEGER"
        return name

    def _complete(self, batch: RecordBatch, things: Array) -> RecordBatch:
        """Give sorted rows the columns and types of the table."""

        def column(field: ArrowField) -> Array:
            if field.name == "thing_name":
                return things.take(batch.column("number"))
            if field.name == "raw_key":
                return self._keys.take(batch.column("object"))
            name = "own_ms" if field.name == self._time else self._sql[field.name]
            return batch.column(name).cast(field.type)

        return RecordBatch.from_arrays(
            [column(field) for field in self._fields], schema=self._schema
        )


def _first_of_group(batch: RecordBatch, number: int, start: int) -> int:
    """The first row from ``start`` that belongs to the group ``number`` or to a later one."""
    numbers = batch.column("number")
    rows = range(batch.num_rows)
    return bisect_left(rows, number, lo=start, key=lambda row: int(numbers[row].as_py()))


def connect(resources: Resources) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that is bounded by ``resources``."""
    return duckdb.connect(
        config={
            "memory_limit": f"{resources.memory_mebibytes}MiB",
            "threads": resources.threads,
            "temp_directory": str(resources.folder),
            # Nothing is fetched from the network.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # A name in SQL never means a variable of Python's.
            "python_enable_replacements": False,
        }
    )


def _table_of(part: Part) -> Table:
    columns: dict[str, tuple[list[Any], DataType]] = {
        "number": (list(range(len(part))), DataType.uint32()),
        "day": ([group.day for group in part], DataType.int64()),
        "thing_name": ([group.thing_name for group in part], DataType.utf8()),
        "start_ms": ([group.start_ms for group in part], DataType.int64()),
        "end_ms": ([group.end_ms for group in part], DataType.int64()),
    }
    arrays = [Array(values, type=type_) for values, type_ in columns.values()]
    return Table.from_arrays(arrays, names=list(columns))
