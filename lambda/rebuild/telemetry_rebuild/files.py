"""Write sorted rows as the daily files of an hour.

Pure, except that it writes the files.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from arro3.core import ChunkedArray, RecordBatch

from contracts import Contract
from telemetry_parser.parquet import write
from telemetry_rebuild.hours import Hour
from telemetry_rebuild.manifest import Output
from telemetry_rebuild.parsing import ParsedHour
from telemetry_rebuild.sorting import Sorter

# As in the live table: large enough for dictionaries and statistics to pay, small enough for a
# reader that wants one thing.
_GROUP_ROWS = 32 * 1024
_GROUP_PAYLOAD_BYTES = 32 * 1024 * 1024


def rows_per_group(parsed: ParsedHour) -> int:
    """The size of a row group, which is smaller where readings are large."""
    share = parsed.readings * _GROUP_PAYLOAD_BYTES // max(parsed.payload_bytes, 1)
    return max(1024, min(_GROUP_ROWS, share))


class DailyFiles:
    """The daily files of one hour: one for each day, or for each part of a day.

    Attributes:
        keys: Of all files.
    """

    def __init__(
        self, contract: Contract, hour: Hour, sorter: Sorter, group_rows: int, folder: Path
    ) -> None:
        self._contract = contract
        self._sorter = sorter
        self._group_rows = group_rows
        self._folder = folder
        numbers: Counter[int] = Counter()
        self._keys_of_parts: list[list[str]] = []
        for part in sorter.parts:
            days = sorted({group.day for group in part})
            numbers.update(days)
            self._keys_of_parts.append(
                [hour.daily_key(contract.channel, day, numbers[day]) for day in days]
            )
        self.keys = {key for keys in self._keys_of_parts for key in keys}

    def write(self) -> Iterator[tuple[Output, Path]]:
        """Sort, write and yield one file after the other, each of which replaces the one before."""
        path = self._folder / "daily.parquet"
        for part, keys in zip(self._sorter.parts, self._keys_of_parts, strict=True):
            by_day = groupby(self._sorter.sort(part), key=itemgetter(0))
            # Each day of a part has a row: the first reading of a thing is no repetition.
            for key, (_, days) in zip(keys, by_day, strict=True):
                rows = 0

                def counted(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
                    nonlocal rows
                    for batch in batches:
                        rows += batch.num_rows
                        yield batch

                batches = (batch for _, batch in days)
                size = write(path, self._contract, regrouped(counted(batches), self._group_rows))
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                yield Output(key, rows, size, digest), path


def regrouped(batches: Iterable[RecordBatch], size: int) -> Iterator[RecordBatch]:
    """Yield the same rows in batches of exactly ``size``, and the rest.

    Where the sort's own batches end depends on threads and memory; the bytes of a file must not.
    """
    taken: list[RecordBatch] = []
    room = size
    for batch in batches:
        start = 0
        while batch.num_rows - start >= room:
            yield _joined([*taken, batch.slice(start, room)])
            start += room
            taken, room = [], size
        if start < batch.num_rows:
            taken.append(batch.slice(start))
            room -= batch.num_rows - start
    if taken:
        yield _joined(taken)


def _joined(batches: list[RecordBatch]) -> RecordBatch:
    if len(batches) == 1:
        return batches[0]
    columns = [
        ChunkedArray(chunks).combine_chunks()
        for chunks in zip(*(batch.columns for batch in batches), strict=True)
    ]
    return RecordBatch.from_arrays(columns, schema=batches[0].schema)
