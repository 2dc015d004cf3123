"""Readings from CSV files: whatever wrote them, each row is a reading or is named with its line."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import ROW_FIELDS
from device.readings import files
from device.readings.check import ReadingCheck
from device.readings.csv_rows import CsvOptions, CsvRows, HeaderError
from device.readings.sources import Payload
from tests.unit.device.readings.contracts_of_csv import NESTED, TELEMETRY, WIND, rows


def test_an_empty_cell_is_an_absent_field() -> None:
    assert rows(b"timestamp,temperature\n1,\n") == [(2, {"timestamp": 1})]


def test_an_empty_cell_of_a_required_field_that_may_be_null_is_null() -> None:
    assert rows(b"gust,at\n,2026-01-01T00:00:00Z\n", WIND) == [
        (2, {"gust": None, "at": "2026-01-01T00:00:00Z"})
    ]


def test_null_is_for_the_objects_that_a_row_has_or_the_contract_requires() -> None:
    content = b"active,site.room,wind.speed,wind.gust,wind.from.degrees\ntrue,,,,\ntrue,,2,,\n"
    site = {"active": True, "site": {"room": None}}
    wind = {"speed": 2, "gust": None, "from": {"degrees": None}}
    assert rows(content, NESTED) == [(2, site), (3, {**site, "wind": wind})]


def test_a_row_that_cannot_be_read_costs_itself_only_and_is_named_by_its_first_line() -> None:
    found = rows(b'timestamp,status\n1\n1,2,3\n2,\xff\n3,"a"b\n4,"two\nlines"\n5,ok\n')
    assert [(line, isinstance(what, dict)) for line, what in found] == [
        (2, False),
        (3, False),
        (4, False),
        (5, False),
        (6, True),
        (8, True),
    ]


@pytest.mark.parametrize("header", ["timestamp,status,timestamp", "timestamp,status, status"])
def test_a_column_that_is_there_twice_is_refused(header: str) -> None:
    with pytest.raises(HeaderError, match="2 times in the header"):
        rows(f"{header}\n1,ok,2\n".encode())


@pytest.mark.parametrize(
    "header", ["Wind,Wind.speed,at", "Wind.speed,Wind,at"], ids=["object first", "field first"]
)
def test_an_object_and_a_field_of_it_are_one_column_too_many(header: str) -> None:
    with pytest.raises(HeaderError, match="one column for each field"):
        rows(f"{header}\n".encode(), WIND)


def test_dotted_columns_make_objects() -> None:
    content = b'at,gust,Wind.speed,Wind.from,samples\n2026-01-01T00:00:00Z,2,3.5,N,"[1, 2]"\n'
    assert rows(content, WIND) == [
        (
            2,
            {
                "at": "2026-01-01T00:00:00Z",
                "gust": 2,
                "Wind": {"speed": 3.5, "from": "N"},
                "samples": [1, 2],
            },
        )
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_the_header_shows(delimiter: str) -> None:
    content = "timestamp,temperature,status\n1,2.5,ok\n".replace(",", delimiter).encode()
    assert rows(content) == [(2, {"timestamp": 1, "temperature": 2.5, "status": "ok"})]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;\r", "\ufeffsep=;"])
def test_the_delimiter_may_be_named_on_the_first_line_as_by_excel(first: str) -> None:
    content = f"{first}\nstatus;firmware,x\nok;1,0\n".encode()
    assert rows(content) == [(3, {"status": "ok", "firmware,x": "1,0"})]


def test_another_delimiter_on_request() -> None:
    assert rows(b"timestamp^status\n1^ok\n", delimiter="^") == [
        (2, {"timestamp": 1, "status": "ok"})
    ]


@pytest.mark.parametrize(
    ("name", "pack"),
    [("LOG.CSV.GZ", gzip.compress), ("log.csv.bz2", bz2.compress), ("log.xz", lzma.compress)],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_compressed_files_and_other_encodings_of_unicode_are_read(
    name: str, pack: Callable[[bytes], bytes], encoding: str
) -> None:
    content = "timestamp,firmware\n1,é\n".encode(encoding)
    expected = [(2, {"timestamp": 1, "firmware": "é"})]
    assert rows(content) == rows(pack(content), name=name) == expected


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_compressed_file_that_is_cut_short_says_so_once(pack: Callable[[bytes], bytes]) -> None:
    lines = "".join(f"{n},{n * 7919 % 1009}\n" for n in range(20_000))
    content = pack(f"timestamp,temperature\n{lines}".encode())
    found = rows(content[: len(content) // 2])
    assert [isinstance(what, str) for _, what in found].count(True) == 1
    assert "cannot be read any further" in str(found[-1][1])


def test_a_compressed_file_without_a_whole_header_is_damaged() -> None:
    with pytest.raises(files.DamagedFileError, match="cannot be read any further"):
        rows(bz2.compress(b"timestamp\n1\n")[:20])


def test_columns_can_be_given_to_fields() -> None:
    content = b"when,temp,status\n1,2.5,ok\n"
    fields = {"when": "timestamp", "temp": "temperature"}
    assert rows(content, fields=fields) == [
        (2, {"timestamp": 1, "temperature": 2.5, "status": "ok"})
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"nope": "timestamp"}, 'named "nope"'),
        ({"when": "nope"}, "field of the contract telemetry"),
    ],
)
def test_a_map_that_does_not_fit_the_file_is_refused(fields: dict[str, str], told: str) -> None:
    with pytest.raises(HeaderError, match=told):
        rows(b"when,status\n", fields=fields)


def test_the_answer_of_a_query_can_be_published_again() -> None:
    columns = [field.column for field in (*TELEMETRY.fields, *ROW_FIELDS)] + ["dt", "hour"]
    values = {
        "timestamp": "2026-11-25 04:42:40.123",
        "temperature": "21.5",
        "humidity": "40",
        "battery": "99",
        "status": "ok",
        "received_at": "2026-11-25 04:42:41.000",
        "raw_key": "raw/telemetry/x",
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerow(
        {column: values.get(column, "x" if column == "raw_key" else "") for column in columns}
    )
    file = CsvRows(io.BytesIO(text.getvalue().encode()), TELEMETRY, CsvOptions())
    assert set(file.left_out) == {*(field.name for field in ROW_FIELDS), "dt", "hour"}
    (item,) = file
    assert isinstance(item, Payload), item
    ReadingCheck(TELEMETRY).check(item.payload)
    assert json.loads(item.payload) == {
        "timestamp": 1_795_581_760_123,
        "temperature": 21.5,
        "humidity": 40,
        "battery": 99,
        "status": "ok",
    }


def test_a_lower_case_column_of_a_table_is_its_field() -> None:
    content = b"at,gust,wind.speed,raw_key\n2026-01-01 00:00:00,2,3,k\n"
    assert rows(content, WIND) == [
        (2, {"at": "2026-01-01T00:00:00Z", "gust": 2, "Wind": {"speed": 3}})
    ]


def test_an_empty_file_has_no_readings() -> None:
    assert rows(b"") == rows(b"\n\n") == rows(b"timestamp,status\n") == []


def test_a_line_that_never_ends_takes_bounded_memory_and_costs_itself_only() -> None:
    long = b"1," + b"x" * (3 << 20)
    found = rows(b"timestamp,firmware\n" + long + b"\n2,ok\n")
    assert found[-1] == (3, {"timestamp": 2, "firmware": "ok"})
    assert [line for line, what in found if isinstance(what, str)] == [2]


@given(st.binary(max_size=400), st.sampled_from(["", "x.csv.gz", "x.bz2", "x.xz"]))
def test_any_bytes_are_rows_or_named_lines(content: bytes, name: str) -> None:
    header = b"timestamp,temperature,status\n"
    for start in (b"", header):
        try:
            found = rows(start + content, name=name)
        except (HeaderError, files.DamagedFileError, files.UnsupportedFileError):
            continue
        lines = [line for line, _ in found]
        assert lines == sorted(lines)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=30))
def test_every_row_that_a_csv_writer_wrote_comes_out_once(values: list[str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["timestamp", "firmware"])
    for number, value in enumerate(values):
        writer.writerow([number, value])
    found = [what for _, what in rows(text.getvalue().encode(), delimiter=",")]
    assert found == [
        {"timestamp": number, **({"firmware": value} if value else {})}
        for number, value in enumerate(values)
    ]
