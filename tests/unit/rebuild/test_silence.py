"""Who is silent and who is not, from when messages arrived."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from telemetry_rebuild.silence import Arrivals, SilenceChange, WatchState, judge
from telemetry_rebuild.silence_lake import SilenceLake
from tests.unit.rebuild.hours import FakeHistory

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = 1_795_000_000_000 // HOUR * HOUR
EXPECTED = 10 * MINUTE


def run(state: WatchState | None, now: int, **newest: int) -> SilenceChange:
    """One run, in which each thing named had one message."""
    arrivals = [(name, Arrivals(time, time, 1)) for name, time in newest.items()]
    return judge(state, arrivals, now=now, expected=EXPECTED)


def test_a_thing_is_silent_after_twice_the_expected_interval_and_the_delivery() -> None:
    first = run(None, NOW, a=NOW)
    assert not first.silent
    assert not run(first.state, NOW + 30 * MINUTE).silent
    assert run(first.state, NOW + 30 * MINUTE + 1).silent == {"a": NOW}


def test_a_silent_thing_is_told_once_and_once_when_it_is_back() -> None:
    found = run(None, NOW, a=NOW, b=NOW)
    found = run(found.state, NOW + HOUR)
    assert (list(found.silent), list(found.back)) == (["a", "b"], [])
    found = run(found.state, NOW + 2 * HOUR, b=NOW + 2 * HOUR)
    assert (list(found.silent), list(found.back)) == ([], ["b"])
    found = run(found.state, NOW + 2 * HOUR + MINUTE)
    assert (list(found.silent), list(found.back)) == ([], [])


def test_a_slow_thing_is_judged_by_its_own_interval_once_that_is_known() -> None:
    state = None
    told = []
    for hour in range(49):
        found = run(
            state, NOW + hour * HOUR, **({"slow": NOW + hour * HOUR} if hour % 6 == 0 else {})
        )
        state = found.state
        told += [hour for _ in found.silent]
    assert told == [1]
    assert state is not None
    late = run(state, NOW + 48 * HOUR + 12 * HOUR + 10 * MINUTE + 1)
    assert list(late.silent) == ["slow"]


def test_one_long_outage_does_not_make_a_thing_slow() -> None:
    steady = judge(None, [("a", Arrivals(NOW - HOUR, NOW, 7))], now=NOW, expected=EXPECTED).state
    away = run(steady, NOW + DAY).state
    back = run(away, NOW + DAY + HOUR, a=NOW + DAY + HOUR)
    assert list(back.back) == ["a"]
    assert list(run(back.state, NOW + DAY + 2 * HOUR).silent) == ["a"]


def test_arrivals_that_are_read_again_change_nothing() -> None:
    state = run(None, NOW, a=NOW).state
    again = run(state, NOW + MINUTE, a=NOW)
    assert again.state.things == state.things


def test_a_thing_that_was_away_for_a_month_is_forgotten() -> None:
    state = run(run(None, NOW, a=NOW).state, NOW + HOUR).state
    assert run(state, NOW + 31 * DAY).state.things == {}


def parquet(*rows: tuple[str | None, int]) -> bytes:
    names, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "thing_name": pa.array(names, pa.string()),
            "received_at": pa.array(times, pa.timestamp("ms", tz="UTC")),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def lake(**objects: bytes) -> tuple[SilenceLake, Any]:
    made = FakeHistory()
    for name, content in objects.items():
        hour = {"at": 0, "before": -1, "long_ago": -2}[name]
        moment = NOW // HOUR + hour
        day, of_day = divmod(moment, 24)
        date = str(pa.scalar(day, pa.date32()).as_py())
        made.content["parsed", f"parsed/telemetry/dt={date}/hour={of_day:02}/1.parquet"] = content
    return SilenceLake(made, "parsed"), made  # type: ignore[arg-type]  # the same methods


def test_arrivals_are_read_from_the_rows_of_the_hours_since_the_last_run() -> None:
    found, _ = lake(
        at=parquet(("a", NOW), ("a", NOW), ("a", NOW + 2), (None, NOW)),
        before=parquet(("a", NOW - 5), ("b", NOW - 9)),
        long_ago=parquet(("c", NOW - 2 * HOUR)),
    )
    arrivals = dict(found.arrivals("telemetry", since=NOW, now=NOW + 10 * MINUTE))
    assert arrivals == {"a": Arrivals(NOW - 5, NOW + 2, 3), "b": Arrivals(NOW - 9, NOW - 9, 1)}


def test_the_first_run_reads_a_day_and_a_run_after_a_long_break_no_more() -> None:
    found, _ = lake(long_ago=parquet(("c", NOW - 2 * HOUR)))
    for since in (None, NOW - 100 * DAY):
        assert [name for name, _ in found.arrivals("telemetry", since=since, now=NOW)] == ["c"]
        late = NOW + 30 * HOUR
        assert found.arrivals("telemetry", since=since, now=late) == []


def test_the_state_of_a_run_is_there_in_the_next() -> None:
    found, _ = lake()
    assert found.state("telemetry") is None
    state = run(None, NOW, a=NOW).state
    found.keep("telemetry", state)
    assert found.state("telemetry") == state
    assert found.state("other") is None
