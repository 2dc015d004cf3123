"""Drop repeated readings from a sorted stream of rows.

Pure: batches in, batches out.
"""

from collections.abc import Sequence

from arro3.core import Array, DataType, RecordBatch

# How many readings of one thing with one time are compared. More than that at the same
# millisecond are not telemetry, and remembering them would fill the memory.
_MOST_REMEMBERED = 100_000

_Place = tuple[RecordBatch, int]


class Repetitions:
    """Keeps the first of the readings of one thing that have the same time and values.

    The stream is sorted by thing and time, so such readings are near each other.

    Args:
        compared: Columns that hold the values; thing and time are known to be the same.

    Attributes:
        count: Readings dropped so far.
    """

    def __init__(self, compared: Sequence[str]) -> None:
        self._compared = list(compared)
        self._last: _Place | None = None
        self._seen: dict[int, _Place] = {}
        self.count = 0

    def drop(self, batch: RecordBatch) -> RecordBatch:
        """Return the rows of the stream's next batch that are no repetition.

        ``batch`` has the columns ``follows``, which says whether a row has the thing and the time
        of the row before, and ``hash``, which is the same for the same values.
        """
        follows: list[bool | None] = list(batch.column("follows").to_pylist())
        suspects = self._suspects(batch, follows) if True in follows else []
        if not follows[-1]:
            self._seen = {}
        self._last = (batch, batch.num_rows - 1)
        repeated = self._verified(batch, suspects)
        if not repeated:
            return batch
        self.count += len(repeated)
        kept = [index for index in range(batch.num_rows) if index not in repeated]
        return batch.take(_indexes(kept))

    def _suspects(self, batch: RecordBatch, follows: list[bool | None]) -> list[tuple[_Place, int]]:
        """Rows whose hash occurred before at the same thing and time, with the first such row."""
        hashes: list[int] = list(batch.column("hash").to_pylist())
        suspects = []
        index = last = -2
        while (index := _next_true(follows, max(index, -1) + 1)) >= 0:
            if index != last + 1:  # the row before begins a group
                self._begin(batch, hashes, index)
            last = index
            first = self._seen.get(hashes[index])
            if first is not None:
                suspects.append((first, index))
            elif len(self._seen) < _MOST_REMEMBERED:
                self._seen[hashes[index]] = (batch, index)
        return suspects

    def _begin(self, batch: RecordBatch, hashes: list[int], index: int) -> None:
        if index:
            self._seen = {hashes[index - 1]: (batch, index - 1)}
        elif not self._seen and self._last is not None:
            before, place = self._last
            self._seen = {before.column("hash")[place].as_py(): self._last}

    def _verified(self, batch: RecordBatch, suspects: list[tuple[_Place, int]]) -> set[int]:
        """The suspects whose values are really the same; different values may share a hash."""
        by_batch: dict[int, list[tuple[_Place, int]]] = {}
        for suspect in suspects:
            by_batch.setdefault(id(suspect[0][0]), []).append(suspect)
        repeated: set[int] = set()
        for found in by_batch.values():
            firsts = found[0][0][0].select(self._compared)
            firsts = firsts.take(_indexes([place for (_, place), _ in found]))
            others = batch.select(self._compared).take(_indexes([index for _, index in found]))
            if firsts.equals(others):
                repeated.update(index for _, index in found)
                continue
            pairs = zip(_rows(firsts), _rows(others), found, strict=True)
            repeated.update(index for one, other, (_, index) in pairs if one == other)
        return repeated


def _next_true(values: list[bool | None], start: int) -> int:
    """Index of the next True from ``start``; -1 if there is none."""
    try:
        return values.index(True, start)
    except ValueError:
        return -1


def _rows(batch: RecordBatch) -> list[tuple[object, ...]]:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _indexes(values: Sequence[int]) -> Array:
    return Array(values, type=DataType.uint32())
