"""The cells of a CSV file: what the contract says they are."""

import io
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.readings import cells
from device.readings.check import ReadingCheck, ReadingError, parse_json
from device.readings.csv_rows import CsvOptions, CsvRows
from device.readings.sources import Payload
from tests.unit.device.readings.contracts_of_csv import NESTED, TELEMETRY, rows


def test_a_cell_is_what_the_contract_says() -> None:
    content = b"timestamp,temperature,status,firmware,pressure,other\n1,2.50,ok,1.0,null,7\n"
    reading = {"timestamp": 1, "temperature": 2.5, "status": "ok", "firmware": "1.0"}
    assert rows(content) == [(2, {**reading, "pressure": None, "other": "7"})]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        *[("TRUE", True), ("True", True), ("true", True)],
        *[("FALSE", False), ("False", False), ("false", False)],
        *[("tRUE", "tRUE"), ("yes", "yes"), ("1", 1)],
    ],
)
def test_a_boolean_is_read_as_excel_and_pandas_write_it(cell: str, value: object) -> None:
    assert rows(f"active\n{cell}\n".encode(), NESTED) == [(2, {"active": value})]


@given(
    st.text('0123456789.eE+- "\\', max_size=8)
    | st.sampled_from(
        ["1e999", "[1]", '{"a":1,"a":2}', '{"a":1}', "null", "true", "NaN", '"\\ud800"']
    )
)
def test_a_cell_that_is_json_is_that_value_and_any_other_is_text(cell: str) -> None:
    try:
        expected = parse_json(cell.encode())
    except ReadingError:
        expected = cell
    assert repr(cells.reader(TELEMETRY.fields[1].schema, None)(cell)) == repr(expected)


def test_only_a_boolean_is_read_so() -> None:
    assert rows(b"status,temperature\nTRUE,TRUE\n") == [
        (2, {"status": "TRUE", "temperature": "TRUE"})
    ]


def test_a_cell_of_the_wrong_type_stays_text_for_the_check_to_find() -> None:
    content = b"timestamp,temperature,humidity,battery,status\nsoon,1,1,1,ok\n"
    (item,) = CsvRows(io.BytesIO(content), TELEMETRY, CsvOptions())
    assert isinstance(item, Payload)
    assert item.number == 2
    with pytest.raises(ReadingError) as caught:
        ReadingCheck(TELEMETRY).check(item.payload)
    reason = '$.timestamp: expected integer (milliseconds since 1970), got "soon"'
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("cell", "zone", "milliseconds"),
    [
        ("2026-07-01 12:00:00", ZoneInfo("Europe/Berlin"), 1_782_900_000_000),
        ("2026-01-01 12:00:00.5", UTC, 1_767_268_800_500),
        ("2026-01-01T12:00", timezone(timedelta(hours=2)), 1_767_261_600_000),
        ("2026-01-01 12:00:00+02:00", None, 1_767_261_600_000),
        ("2026-01-01 12:00:00Z", ZoneInfo("Europe/Berlin"), 1_767_268_800_000),
        ("1767268800000", None, 1_767_268_800_000),
    ],
)
def test_times_are_read_as_people_write_them(
    cell: str, zone: ZoneInfo | None, milliseconds: int
) -> None:
    assert rows(f"timestamp\n{cell}\n".encode(), time_zone=zone) == [
        (2, {"timestamp": milliseconds})
    ]


@pytest.mark.parametrize(
    ("cell", "zone"),
    [
        pytest.param("2026-01-01 12:00:00", None, id="no zone"),
        pytest.param("2026-10-25 02:30:00", ZoneInfo("Europe/Berlin"), id="twice"),
        pytest.param("2026-03-29 02:30:00", ZoneInfo("Europe/Berlin"), id="never"),
    ],
)
def test_a_time_that_could_be_several_moments_is_refused(cell: str, zone: ZoneInfo | None) -> None:
    ((line, reason),) = rows(f"timestamp\n{cell}\n".encode(), time_zone=zone)
    assert line == 2
    assert str(reason).startswith("$.timestamp: expected a time")
