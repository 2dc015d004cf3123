"""Repetitions in a sorted stream, wherever its batches end, and whatever the hashes are."""

from itertools import pairwise
from typing import Any

import pytest
from arro3.core import Array, DataType, RecordBatch
from hypothesis import given
from hypothesis import strategies as st

from telemetry_rebuild import repetitions
from telemetry_rebuild.repetitions import Repetitions

# Time and value of each row.
Row = tuple[int, Any]


def batches(rows: list[Row], ends: list[int], hash_of: Any) -> list[RecordBatch]:
    """The sorted ``rows``, in batches that end where ``ends`` says."""
    made = []
    cuts = [0, *sorted(end % (len(rows) + 1) for end in ends), len(rows)]
    for start, stop in pairwise(cuts):
        if start < stop:
            part = range(start, stop)
            columns: dict[str, Any] = {
                "row": Array(list(part), type=DataType.int64()),
                "value": Array([rows[n][1] for n in part], type=DataType.float64()),
                "hash": Array([hash_of(rows[n][1]) for n in part], type=DataType.uint64()),
                "follows": Array(
                    [rows[n][0] == rows[n - 1][0] if n else None for n in part],
                    type=DataType.bool(),
                ),
            }
            made.append(RecordBatch.from_pydict(columns))
    return made


def kept(rows: list[Row], ends: list[int], hash_of: Any) -> tuple[list[int], int]:
    stream = Repetitions(["value"])
    rest: list[int] = []
    for batch in batches(rows, ends, hash_of):
        rest += stream.drop(batch).column("row").to_pylist()
    return rest, stream.count


_rows = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([None, 0.0, 1.0, 2.0])), max_size=12
).map(lambda rows: sorted(rows, key=lambda row: row[0]))
_ends = st.lists(st.integers(0, 12), max_size=4)


@given(rows=_rows, ends=_ends)
def test_the_first_of_each_time_and_value_is_kept(rows: list[Row], ends: list[int]) -> None:
    found = kept(rows, ends, lambda value: 7 if value is None else int(value))
    expected = [n for n, row in enumerate(rows) if row not in rows[:n]]
    assert found == (expected, len(rows) - len(expected))


@given(rows=_rows, ends=_ends)
def test_different_values_that_share_a_hash_are_never_dropped(
    rows: list[Row], ends: list[int]
) -> None:
    found, _ = kept(rows, ends, lambda _: 0)
    assert {rows[n] for n in found} == set(rows)


def test_zero_and_minus_zero_are_the_same_value() -> None:
    assert kept([(0, 0.0), (0, -0.0)], [1], lambda _: 0) == ([0], 1)


def test_what_is_remembered_of_one_time_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetitions, "_MOST_REMEMBERED", 2)
    rows: list[Row] = [(0, 0.0), (0, 1.0), (0, 2.0), (0, 1.0), (0, 2.0), (1, 2.0), (1, 2.0)]
    assert kept(rows, [], int) == ([0, 1, 2, 4, 5], 2)
