"""The daily table of generated hours is exactly what the oracle says: each row, and the order."""

import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import TIMESTAMP_MS_MAX
from tests.unit.parser.examples import ARRIVAL_MS, contract, line
from tests.unit.parser.oracle import instant
from tests.unit.rebuild import oracle
from tests.unit.rebuild.hours import DAY_MS, HOUR, RETENTION_DAYS, lake

# Fields whose names mean something in SQL, or to DuckDB.
ODD = {
    "file_index": {"type": "integer"},
    "filename": {"type": "string"},
    "number": {"type": "integer"},
}
MILLISECONDS = {"type": "integer", "x-timestamp": "ms"}
CONTRACTS = {
    "flat": contract(["t"], t=MILLISECONDS, v={"type": ["number", "null"]}, **ODD),
    "nested": contract(
        ["at", "place"],
        at={"type": "string", "format": "date-time"},
        place={
            "type": "object",
            "required": ["x"],
            "properties": {
                "x": {"type": "integer", "x-unit": "m"},
                "seen": {"type": ["integer", "null"], "x-timestamp": "s"},
            },
        },
        list={"type": "array", "items": {"type": ["number", "null"]}},
    ),
    "seconds": contract(["t"], v={"type": "boolean"}, t={"type": "integer", "x-timestamp": "s"}),
    "no time": contract(["v"], v={"type": "integer"}, t=MILLISECONDS),
    "time alone": contract(["t"], t=MILLISECONDS),
}
MIDNIGHT = ARRIVAL_MS // DAY_MS * DAY_MS
FIRST, END = MIDNIGHT - RETENTION_DAYS * DAY_MS, HOUR.start_ms + 25 * 3_600_000
TIMES = [
    *(ARRIVAL_MS, ARRIVAL_MS + 1, MIDNIGHT, MIDNIGHT - 1, ARRIVAL_MS - 2 * DAY_MS),
    *(FIRST, FIRST - 1, END - 1, END, 0, -1, 1000, TIMESTAMP_MS_MAX, -DAY_MS, -1500),
]
_few = st.sampled_from
_numbers = _few([0, 1, -0.0, 0.0, 2.5, None])


def _optional(**fields: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return fields


# Few values of each field, so that repetitions are frequent.
READINGS = {
    "flat": st.fixed_dictionaries(
        {"t": _few(TIMES)},
        optional=_optional(v=_numbers, file_index=_few([0, 1, "x"]), filename=_few(["", "é"])),
    ),
    "nested": st.fixed_dictionaries(
        {
            "at": _few(TIMES[:10]).map(lambda ms: instant(ms).isoformat()),
            "place": st.fixed_dictionaries(
                {"x": _few([1, 2])}, optional={"seen": _few([None, 0, -1])}
            ),
        },
        optional={"list": _few([[], [1], [1.0], [None], [-0.0], [0], "x"])},
    ),
    "seconds": st.fixed_dictionaries(
        {"t": _few([ms // 1000 for ms in TIMES])}, optional={"v": st.booleans()}
    ),
    "no time": st.fixed_dictionaries({"v": _few([1, 2, "x"])}, optional={"t": _few(TIMES)}),
    "time alone": st.fixed_dictionaries({"t": _few(TIMES)}),
}


@st.composite
def raw_lines(draw: st.DrawFn, name: str) -> bytes:
    """A message of one reading or of several, packed or not; sometimes it is none."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(_few([b"", b"  ", b"nonsense", b'{"payload": 1}']))
    readings: Any = draw(st.lists(READINGS[name], min_size=1, max_size=4))
    payload = json.dumps(readings if kind % 2 else readings[0]).encode()
    if kind == 1:
        payload = payload[:-1]
    if kind > 6:
        payload = gzip.compress(payload, mtime=0)
    thing = draw(_few(["a", "b", "B", "a:1"]))
    customer = draw(_few(["", "/x", "/y"]))
    # Now and then a recovered message, which arrived long before.
    received_at = draw(_few([ARRIVAL_MS, ARRIVAL_MS + 1, ARRIVAL_MS - 3 * DAY_MS]))
    return line(payload, topic=f"dt/dev/{thing}/test{customer}", received_at=received_at)


@st.composite
def hours(draw: st.DrawFn) -> tuple[str, dict[str, bytes]]:
    """A contract, and raw objects of which some cannot be read."""
    name = draw(_few(sorted(CONTRACTS)))
    raw = {}
    for number in range(draw(st.integers(0, 3))):
        content = gzip.compress(b"\n".join(draw(st.lists(raw_lines(name), max_size=6))), mtime=0)
        cut = draw(st.integers(0, 4)) == 0
        raw[f"object-{9 - number}"] = content[:-5] if cut else content
    return name, raw


# Each example starts a database, which takes a moment.
@settings(deadline=None, max_examples=60)
@given(hour=hours(), rows_per_sort=_few([None, 1, 2, 5]))
def test_an_hour_becomes_exactly_the_rows_of_the_oracle_in_its_order(
    hour: tuple[str, dict[str, bytes]], rows_per_sort: int | None
) -> None:
    name, raw = hour
    made = lake(raw, CONTRACTS[name])
    manifest = made.rebuild(rows_per_sort=rows_per_sort).manifest
    by_key = {
        key: made.objects.content["raw-bucket", key] for key in made.objects.keys("raw-bucket")
    }
    days, counts = oracle.daily(CONTRACTS[name], str(HOUR), by_key, RETENTION_DAYS)
    assert made.days() == days
    assert {
        "skipped": len(manifest.skipped),
        "rejected": manifest.rejected,
        "repeated": manifest.repeated,
        "misdated": manifest.misdated,
        "rows": manifest.rows,
    } == counts
    assert sum(one.readings for one in manifest.inputs) == manifest.rows + manifest.repeated
