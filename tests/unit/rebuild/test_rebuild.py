"""One hour: what is written, in which order, and what a second run does."""

import gzip
import io
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry_rebuild import manifest as manifests
from telemetry_rebuild.hours import Hour, HourError
from telemetry_rebuild.rebuild import RebuildError
from tests.unit.parser.examples import parse_object
from tests.unit.rebuild.hours import (
    ARRIVAL_MS,
    DAY_MS,
    HOUR,
    PARSED,
    RAW,
    Lake,
    lake,
    of_thing,
    packed,
    reading,
)

DAY = "daily/telemetry/day=2026-11-22/2026-11-22T09.parquet"
DAY_BEFORE = "daily/telemetry/day=2026-11-21/2026-11-22T09.parquet"
MANIFEST = "manifests/telemetry/2026-11-22T09.json"

LATE = reading(timestamp=ARRIVAL_MS - DAY_MS)


def two_days() -> Lake:
    return lake(
        {
            "1": packed(of_thing("b", [reading(), LATE])),
            "2": packed(of_thing("a", reading()), of_thing("b", reading()), b"nonsense"),
        }
    )


def test_each_day_of_the_readings_gets_an_object_named_after_the_hour_of_arrival() -> None:
    made = two_days()
    manifest = made.rebuild().manifest
    assert made.outputs().keys() == {DAY, DAY_BEFORE, MANIFEST}
    assert (manifest.rows, manifest.repeated, manifest.rejected) == (3, 1, 1)
    things = {day: [row["thing_name"] for row in rows] for day, rows in made.days().items()}
    assert things == {date(2026, 11, 21): ["b"], date(2026, 11, 22): ["a", "b"]}


def test_the_manifest_names_what_went_in_and_what_came_out() -> None:
    made = two_days()
    unreadable = made.put_raw("3", gzip.compress(b"cut short")[:-1])
    made.rebuild()
    manifest = made.manifest()
    assert manifest.complete
    assert (manifest.channel, manifest.hour) == ("telemetry", "2026-11-22T09")
    assert [(one.messages, one.readings, one.rejected) for one in manifest.inputs] == [
        (1, 2, 0),
        (3, 2, 1),
    ]
    ((skipped),) = manifest.skipped
    assert skipped.key == unreadable
    assert skipped.reason.startswith("expected whole gzip")
    sizes = {output.key: output.bytes for output in manifest.outputs}
    assert sizes == {key: len(made.outputs()[key]) for key in (DAY_BEFORE, DAY)}


def test_the_first_of_repeated_readings_is_kept() -> None:
    made = lake({"2": packed(of_thing("a", reading())), "1": packed(b"", of_thing("a", reading()))})
    made.rebuild()
    ((row,),) = made.days().values()
    assert (row["raw_key"][-11:-10], row["raw_line"]) == ("1", 2)


def test_schema_and_metadata_are_those_of_the_live_table() -> None:
    made = two_days()
    made.rebuild()
    live = parse_object(packed(of_thing("a", reading())))
    assert live.table is not None
    schema = pq.read_schema(io.BytesIO(made.outputs()[DAY]))
    assert schema.equals(live.table.schema, check_metadata=True)


def test_an_hour_without_raw_objects_has_a_manifest_and_no_daily_object() -> None:
    made = lake()
    assert made.rebuild().manifest.rows == 0
    assert made.outputs().keys() == {MANIFEST}


def test_only_this_channels_raw_objects_of_this_hour_are_read() -> None:
    made = two_days()
    good = packed(of_thing("z", reading()))
    for other in (
        "raw/telemetry/dt=2026-11-22/hour=10/x.ndjson.gz",
        "raw/telemetry2/dt=2026-11-22/hour=09/x.ndjson.gz",
        "raw/telemetry/dt=2026-11-22/hour=09/notes.txt",
    ):
        made.objects.content[RAW, other] = good
    made.rebuild()
    assert {row["thing_name"] for rows in made.days().values() for row in rows} == {"a", "b"}


def test_a_second_run_finds_nothing_to_do() -> None:
    made = two_days()
    first = made.rebuild()
    made.objects.calls.clear()
    second = made.rebuild()
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.manifest == first.manifest
    assert {operation for operation, _, _ in made.objects.calls} == {"list", "get"}


def test_force_rebuilds_the_same_bytes() -> None:
    made = two_days()
    made.rebuild()
    before = made.outputs()
    for key in (DAY, DAY_BEFORE):
        made.objects.content[PARSED, key] = b"overwritten"
    assert not made.rebuild(force=True).unchanged
    assert made.outputs() == before


def _more_raw(made: Lake, _: pytest.MonkeyPatch) -> None:
    made.put_raw("9", packed(of_thing("c", reading())))


def _other_content(made: Lake, _: pytest.MonkeyPatch) -> None:
    made.put_raw("1", packed(of_thing("c", reading())))


def _other_code(made: Lake, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(manifests, "_code_hash", lambda: "other")


def _incomplete(made: Lake, _: pytest.MonkeyPatch) -> None:
    content = made.objects.content
    content[PARSED, MANIFEST] = content[PARSED, MANIFEST].replace(
        b'"complete": true', b'"complete": false'
    )


@pytest.mark.parametrize("change", [_more_raw, _other_content, _other_code, _incomplete])
def test_what_could_change_the_outputs_is_rebuilt(
    change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = two_days()
    made.rebuild()
    change(made, monkeypatch)
    assert not made.rebuild().unchanged
    assert made.rebuild().unchanged


def test_another_retention_is_another_version() -> None:
    made = two_days()
    made.rebuild()
    assert not made.rebuild(retention_days=99).unchanged


def test_what_only_an_earlier_run_wrote_is_removed_after_the_new_outputs_are_there() -> None:
    made = two_days()
    made.rebuild()
    made.put_raw("1", packed(of_thing("b", reading())))
    made.objects.calls.clear()
    made.rebuild()
    assert made.outputs().keys() == {DAY, MANIFEST}
    changes = [(what, key) for what, _, key in made.objects.calls if what in ("put", "remove")]
    assert changes == [
        ("put", MANIFEST),  # says that the outputs are not to be trusted for now
        ("put", DAY),
        ("remove", DAY_BEFORE),
        ("put", MANIFEST),
    ]


class Killed(BaseException):
    """Nothing catches it, as nothing runs any more in a process that was killed."""


@settings(deadline=None, max_examples=20)
@given(ends_after=st.integers(0, 12), changed=st.booleans())
def test_a_run_that_was_killed_is_made_good_by_the_next_one(ends_after: int, changed: bool) -> None:
    expected = two_days()
    if changed:
        expected.put_raw("1", packed(of_thing("c", reading())))
    expected.rebuild()
    made = two_days()
    made.rebuild(rows_per_sort=1)  # other outputs, and more of them
    if changed:
        made.put_raw("1", packed(of_thing("c", reading())))
    calls = iter(range(ends_after))

    def end(*_: str) -> None:
        if next(calls, None) is None:
            raise Killed

    made.objects.before = end
    try:
        made.rebuild(force=True)
    except Killed:
        made.objects.before = lambda *_: None
        made.rebuild(force=not changed)
    assert made.outputs() == expected.outputs()


def test_a_killed_run_that_did_not_change_anything_yet_is_not_taken_for_a_complete_one() -> None:
    made = two_days()

    def end(operation: str, _: str, key: str) -> None:
        if operation == "put" and key == DAY:
            raise Killed

    made.objects.before = end
    with pytest.raises(Killed):
        made.rebuild()
    assert not made.manifest().complete
    assert made.manifest().output_keys == {DAY, DAY_BEFORE}


def test_history_is_not_rebuilt_from_raw_objects_that_have_expired() -> None:
    made = two_days()
    made.rebuild()
    before = made.outputs()
    del made.objects.content[RAW, f"{HOUR.raw_prefix('telemetry')}1.ndjson.gz"]
    with pytest.raises(RebuildError, match=r"1 raw objects are gone .*1\.ndjson\.gz"):
        made.rebuild(force=True)
    assert made.outputs() == before
    # The operator who removed them on purpose says so.
    del made.objects.content[PARSED, MANIFEST]
    assert made.rebuild().manifest.rows == 2


def test_a_manifest_that_is_none_is_named() -> None:
    made = two_days()
    made.objects.content[PARSED, MANIFEST] = b"{}"
    with pytest.raises(RebuildError, match=f"expected a manifest in {MANIFEST}"):
        made.rebuild()


def test_an_error_of_the_store_is_passed_on() -> None:
    made = two_days()

    def refuse(operation: str, *_: str) -> None:
        if operation == "open":
            raise PermissionError("AccessDenied")

    made.objects.before = refuse
    with pytest.raises(PermissionError):
        made.rebuild()
    assert not made.outputs()


@pytest.fixture(scope="module")
def large() -> Lake:
    """Some 40,000 readings over several days, a third of them repeated, in no order."""
    many = [
        reading(timestamp=ARRIVAL_MS - 79193 * number % (3 * DAY_MS), sequence=number % 13)
        for number in range(13_000)
    ]
    raw = {
        str(index): packed(
            *(
                of_thing(f"thing-{start % 7}", many[start : start + 100])
                for start in range(index * 1000, 13_000, 100)
            )
        )
        for index in range(4)
    }
    return lake(raw)


def test_the_bytes_depend_neither_on_threads_nor_on_memory(large: Lake) -> None:
    results = []
    for threads, memory_mebibytes in ((1, 512), (2, 48), (4, 512), (1, 32)):
        large.rebuild(force=True, threads=threads, memory_mebibytes=memory_mebibytes)
        results.append(large.outputs())
    assert len(results[0]) > 3
    assert all(result == results[0] for result in results)


def test_a_large_day_is_divided_into_objects_that_follow_each_other(large: Lake) -> None:
    large.rebuild(force=True)
    whole = large.days()
    large.rebuild(force=True, rows_per_sort=997)
    keys = [output.key for output in large.manifest().outputs]
    assert [key for key in keys if "day=2026-11-21" in key][:2] == [
        "daily/telemetry/day=2026-11-21/2026-11-22T09.parquet",
        "daily/telemetry/day=2026-11-21/2026-11-22T09-2.parquet",
    ]
    assert large.days() == whole
    large.rebuild(force=True)
    assert len(large.manifest().outputs) == len(whole) == len(large.outputs()) - 1


def test_nothing_local_is_left(tmp_path: Path) -> None:
    made = two_days()
    made.rebuild(folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["2026-11-22", "2026-11-22T24", "2026-13-22T09", "2026-11-22T9"])
def test_an_hour_has_one_form(wrong: str) -> None:
    with pytest.raises(HourError, match="expected an hour yyyy-MM-ddTHH"):
        Hour.parse(wrong)
