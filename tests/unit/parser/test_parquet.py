"""The Parquet file: its types, what it says of itself, how it is laid out, who can read it."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import contracts
from contracts import ROW_FIELDS, Contract
from telemetry_parser import parquet, rows
from telemetry_parser.parser import Parser
from tests.unit.parser.examples import (
    GOOD,
    TELEMETRY,
    contract,
    line,
    parse_lines,
    parse_reading,
)

_TIMESTAMP = pa.timestamp("ms", tz="UTC")


def write(folder: Path, *lines: bytes, of: Contract = TELEMETRY) -> pq.ParquetFile:
    raw = folder / "raw"
    raw.write_bytes(b"\n".join(lines))
    with raw.open("rb") as stream:
        Parser(of).parse(stream, raw_key="k", parquet_path=folder / "p", rejected_path=folder / "r")
    return pq.ParquetFile(folder / "p")


def test_types_and_nullability_are_the_contracts() -> None:
    table = parse_lines(line(GOOD)).table
    assert table is not None
    found = {field.name: (field.type, field.nullable) for field in table.schema}
    assert found == {
        "timestamp": (_TIMESTAMP, False),
        "temperature": (pa.float64(), False),
        "humidity": (pa.float64(), False),
        "battery": (pa.float64(), False),
        "status": (pa.string(), False),
        "sequence": (pa.int64(), True),
        "pressure": (pa.float64(), True),
        "firmware": (pa.string(), True),
        "thing_name": (pa.string(), False),
        "customer": (pa.string(), True),
        "received_at": (_TIMESTAMP, False),
        "raw_key": (pa.string(), False),
        "raw_line": (pa.int64(), False),
        "reading_index": (pa.int64(), False),
    }
    assert table.schema.names == [f.column for f in (*TELEMETRY.fields, *ROW_FIELDS)]


def test_descriptions_and_units_are_in_the_files_schema() -> None:
    table = parse_lines(line(GOOD)).table
    assert table is not None
    assert table.schema.field("temperature").metadata == {
        b"description": b"Air temperature.",
        b"unit": b"Cel",
    }
    assert b"unit" not in table.schema.field("thing_name").metadata


def test_nested_types_are_structs_and_lists() -> None:
    position = {
        "type": ["object", "null"],
        "properties": {
            "Lat": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["Lat"],
    }
    of = contract(["at"], at={"type": "array", "items": position})
    outcome = parse_reading({"at": [{"Lat": 1, "tags": ["a", "b"]}, None, {"Lat": 2}]}, of)
    assert outcome.table is not None
    assert outcome.column("at") == [
        [{"lat": 1.0, "tags": ["a", "b"]}, None, {"lat": 2.0, "tags": None}]
    ]
    item = outcome.table.schema.field("at").type.value_field
    assert item.nullable
    assert not item.type.field("lat").nullable
    assert item.type.field("tags").nullable


def test_columns_are_compressed_and_have_statistics(tmp_path: Path) -> None:
    group = write(tmp_path, line(GOOD), line(GOOD | {"temperature": -5})).metadata.row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert columns["temperature"].statistics.min == -5
    assert columns["temperature"].statistics.max == 21.5
    assert columns["sequence"].statistics.null_count == 2
    assert columns["thing_name"].statistics.has_min_max


def test_a_dictionary_is_used_where_values_repeat(tmp_path: Path) -> None:
    group = write(tmp_path, line([GOOD] * 100)).metadata.row_group(0)
    encodings = {
        group.column(n).path_in_schema: group.column(n).encodings for n in range(group.num_columns)
    }
    assert "RLE_DICTIONARY" in encodings["status"]
    assert "RLE_DICTIONARY" in encodings["raw_key"]
    assert "DELTA_BINARY_PACKED" in encodings["timestamp"]


def test_row_groups_are_full_however_messages_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 2048)
    monkeypatch.setattr(rows, "_BATCH_ROWS", 100)
    packed = [line([GOOD | {"sequence": n}] * (n % 40 + 1)) for n in range(200)]
    metadata = write(tmp_path, *packed, *[line(GOOD)] * 1000).metadata
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert sizes == [2048, 2048, sum(n % 40 + 1 for n in range(200)) + 1000 - 2 * 2048]


def test_rows_of_single_readings_are_in_the_order_of_the_lines() -> None:
    lines = [line(GOOD | {"sequence": n}, topic=f"dt/dev/t-{n % 7}/telemetry") for n in range(3000)]
    assert parse_lines(*lines).column("raw_line") == list(range(1, 3001))


def test_rows_are_equal_whoever_reads_them(tmp_path: Path) -> None:
    readings: list[Any] = [GOOD, GOOD | {"pressure": None, "firmware": "\u2028\U0001f600"}]
    document = json.loads(json.dumps(TELEMETRY.document))
    del document["properties"]["timestamp"]["minimum"]
    any_time = contracts.parse("telemetry", json.dumps(document))
    year_1 = GOOD | {"timestamp": -62_135_596_800_000}
    file = write(tmp_path, line(readings), line(year_1), of=any_time)
    assert file.metadata.num_rows == 3
    expected = file.read().to_pylist()
    with duckdb.connect() as connection:
        found = connection.read_parquet(str(tmp_path / "p")).to_arrow_table()
    times = ("timestamp", "received_at")
    assert [
        {key: value for key, value in row.items() if key not in times} for row in found.to_pylist()
    ] == [{key: value for key, value in row.items() if key not in times} for row in expected]
    for name in times:
        assert found[name].cast(_TIMESTAMP) == file.read()[name]


def test_the_same_object_makes_the_same_bytes() -> None:
    raw = gzip.compress(b"\n".join([line([GOOD, {}]), line(GOOD), b"bad"]))
    made = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "raw").write_bytes(raw)
            with (folder / "raw").open("rb") as stream:
                Parser(TELEMETRY).parse(
                    stream, raw_key="k", parquet_path=folder / "p", rejected_path=folder / "r"
                )
            made.append(((folder / "p").read_bytes(), (folder / "r").read_bytes()))
    assert made[0] == made[1]
