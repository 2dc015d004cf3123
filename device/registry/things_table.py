"""Work on many things: read their names from a CSV file, and process a few at a time."""

import csv
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TextIO, TypeVar

from contracts import names
from device.errors import DeviceError

COLUMN = "thing_name"

# AWS IoT accepts 10 calls per second of most operations that create something. Four threads stay
# well below that, and botocore retries calls that are throttled.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#thing-limits
_THREADS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """A thing to work on, and the line of the file that names it."""

    line: int
    thing_name: str


def read(table: TextIO) -> tuple[list[Row], list[str]]:
    """Read a CSV file with a column ``thing_name``.

    Returns:
        The rows, and a sentence for each bad line.
    """
    rows: list[Row] = []
    bad: list[str] = []
    lines: dict[str, int] = {}
    reader = csv.DictReader(table, strict=True)
    try:
        if COLUMN not in (reader.fieldnames or []):
            return [], [f"line 1: expected a column {COLUMN}, got {reader.fieldnames}"]
        for record in reader:
            line, name = reader.line_num, (record[COLUMN] or "").strip()
            try:
                names.check_thing_name(name)
            except ValueError as error:
                bad.append(f"line {line}: {error}")
                continue
            if name in lines:
                bad.append(f"line {line}: {name} is on line {lines[name]} already")
                continue
            lines[name] = line
            rows.append(Row(line, name))
    except (csv.Error, UnicodeDecodeError) as error:
        bad.append(f"line {reader.line_num + 1}: expected CSV in UTF-8: {error}")
    return rows, bad


def each(rows: Iterable[Row], work: Callable[[str], T]) -> Iterator[tuple[Row, T | DeviceError]]:
    """Call ``work`` for each thing, and yield each result or error as soon as it is known.

    If the caller stops early, as after Ctrl-C, calls that have begun are completed and no other
    call is begun.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        futures: dict[Future[T], Row] = {threads.submit(work, row.thing_name): row for row in rows}
        try:
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except DeviceError as error:
                    yield futures[future], error
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
