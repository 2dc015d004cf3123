"""ops.named_queries: what they find, in a database in memory."""

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import duckdb
import pytest

import contracts
from device import cli
from ops import named_queries, tables
from ops.athena import Answer, Column
from ops.named_queries import NAMED, sql_of

SINCE = date(2026, 11, 24)

# thing, customer, the reading's own time, its value, when it was received, and its place in raw
Row = tuple[str, str | None, str, float, str, int, int]


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE telemetry (timestamp TIMESTAMP, temperature DOUBLE, humidity DOUBLE, "
            "battery DOUBLE, status VARCHAR, sequence BIGINT, pressure DOUBLE, firmware VARCHAR, "
            "thing_name VARCHAR, customer VARCHAR, received_at TIMESTAMP, raw_key VARCHAR, "
            "raw_line BIGINT, reading_index BIGINT, dt VARCHAR, hour VARCHAR)"
        )
        yield connection


def add(lake: duckdb.DuckDBPyConnection, *rows: Row, dt: str = "2026-11-25") -> None:
    for thing, customer, own, value, received, *place in rows:
        lake.execute(
            "INSERT INTO telemetry BY NAME SELECT ? AS timestamp, ? AS temperature, "
            "? AS thing_name, ? AS customer, ? AS received_at, ? AS raw_line, ? AS reading_index, "
            "? AS dt",
            [f"2026-11-25 {own}", value, thing, customer, f"2026-11-25 {received}", *place, dt],
        )


def latest(lake: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    found = lake.execute(sql_of("latest", "telemetry", SINCE))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_latest_is_by_the_readings_own_time_not_by_arrival(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    add(
        lake,
        ("a", None, "10:00", 1.0, "10:01", 1, 0),
        ("a", None, "09:00", 2.0, "11:00", 1, 0),  # was in the spool until then
    )
    assert [row["temperature"] for row in latest(lake)] == [1.0]


def test_a_clock_that_is_ahead_does_not_hide_later_readings(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    add(lake, ("a", None, "23:00", 1.0, "10:00", 1, 0), ("a", None, "11:00", 2.0, "11:01", 1, 0))
    assert [row["temperature"] for row in latest(lake)] == [2.0]


def test_readings_of_the_same_time_follow_their_order_in_raw(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    add(
        lake,
        ("a", None, "10:00", 2.0, "10:01", 2, 1),
        ("a", None, "10:00", 1.0, "10:01", 2, 0),
        ("a", None, "10:00", 0.0, "10:01", 1, 9),
    )
    assert [row["temperature"] for row in latest(lake)] == [2.0]


def test_customers_are_not_merged_with_their_thing(lake: duckdb.DuckDBPyConnection) -> None:
    add(
        lake,
        ("b", None, "10:00", 1.0, "10:01", 1, 0),
        ("b", "umbrella", "10:00", 2.0, "10:01", 2, 0),
        ("b", "acme", "10:00", 3.0, "10:01", 3, 0),
        ("a", None, "09:00", 4.0, "10:01", 4, 0),
    )
    found = [(row["thing_name"], row["customer"], row["temperature"]) for row in latest(lake)]
    assert sorted(found, key=str) == sorted(
        [("a", None, 4.0), ("b", None, 1.0), ("b", "acme", 3.0), ("b", "umbrella", 2.0)], key=str
    )


def test_latest_shows_who_when_and_what_and_no_helper_column(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    add(lake, ("a", None, "10:00", 1.0, "10:01", 1, 0))
    (row,) = latest(lake)
    fields = [field.column for field in contracts.load("telemetry").fields]
    assert list(row) == ["thing_name", "customer", *fields, "received_at"]


def test_a_contract_without_a_required_time_goes_by_arrival() -> None:
    document = {
        "$schema": contracts.DIALECT,
        "type": "object",
        "required": ["volt"],
        "properties": {
            "volt": {"type": "integer"},
            "seen": {"type": "integer", "x-timestamp": "s"},
        },
    }
    contract = contracts.parse("trucks", json.dumps(document))
    sql = named_queries._latest(contract, SINCE)
    assert "least(received_at, received_at)" in sql
    assert '"volt", "seen", received_at' in sql


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_query_reads_a_few_days_only(name: str) -> None:
    assert "dt >= '2026-11-24'" in sql_of(name, "telemetry", SINCE)


@pytest.fixture
def rejected(lake: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    lake.execute(
        "CREATE TABLE telemetry_rejected (reason VARCHAR, path VARCHAR, raw_key VARCHAR, "
        "raw_line BIGINT, reading_index BIGINT, line VARCHAR, dt VARCHAR, hour VARCHAR)"
    )
    return lake


def add_rejected(
    lake: duckdb.DuckDBPyConnection, minute: int, payload: bytes, index: int | None = None
) -> None:
    """Add a line that arrived at 10 h UTC and so many minutes."""
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "topic": "dt/dev/a/telemetry",
        "received_at": 1_795_600_800_000 + minute * 60_000,
    }
    lake.execute(
        "INSERT INTO telemetry_rejected BY NAME SELECT 'expected int' AS reason, '$.n' AS path, "
        "? AS raw_key, 1 AS raw_line, ? AS reading_index, ? AS line, '2026-11-25' AS dt, "
        "'10' AS hour",
        [
            f"raw/telemetry/dt=2026-11-25/hour=10/stream-1-2026-11-25-10-{minute:02}-00.ndjson.gz",
            index,
            base64.b64encode(json.dumps(envelope).encode()).decode(),
        ],
    )


def newest_rejected(lake: duckdb.DuckDBPyConnection, *, in_table: bool = False) -> Answer:
    found = lake.execute(sql_of("rejected", "telemetry", SINCE))
    columns = tuple(Column(column[0], "varchar") for column in found.description or ())
    rows = [[None if v is None else str(v) for v in row] for row in found.fetchall()]
    return NAMED["rejected"].finish(Answer(columns, rows), in_table)


def test_rejected_shows_what_each_device_sent_and_why_it_was_refused_the_newest_first(
    rejected: duckdb.DuckDBPyConnection,
) -> None:
    add_rejected(rejected, 5, b"battery low")
    add_rejected(rejected, 7, gzip.compress(b'[{"n": 1}, {"n": "x"}]'), 1)
    found = newest_rejected(rejected)
    names = [column.name for column in found.columns]
    assert names == ["thing_name", "received_at", "reason", "payload", "path"]
    assert found.rows == [
        ["a", "2026-11-25 10:07:00.000", "expected int", '{"n": "x"}', "$.n"],
        ["a", "2026-11-25 10:05:00.000", "expected int", "battery low", "$.n"],
    ]


def test_rejected_shows_the_fifty_newest(rejected: duckdb.DuckDBPyConnection) -> None:
    for minute in range(60):
        add_rejected(rejected, minute, b"x")
    received = [row[1] for row in newest_rejected(rejected).rows]
    assert received == [f"2026-11-25 10:{minute:02}:00.000" for minute in range(59, 9, -1)]


def test_a_long_payload_is_cut_in_a_table_only(rejected: duckdb.DuckDBPyConnection) -> None:
    add_rejected(rejected, 0, b"x" * 5000)
    assert newest_rejected(rejected).rows[0][3] == "x" * 5000
    in_table = newest_rejected(rejected, in_table=True).rows[0][3]
    assert in_table == "x" * 300 + "… of 5,000 characters"


def test_no_character_of_a_payload_controls_the_terminal(
    rejected: duckdb.DuckDBPyConnection,
) -> None:
    add_rejected(rejected, 0, b"\x1b[2J\x9b1m\xc2\x9b1m\r\n\x07")
    found = newest_rejected(rejected)
    for text in (
        tables.table_text(found),
        tables.csv_text(found, for_terminal=True),
        *map(cli.json_line, found.records()),
    ):
        assert all(character.isprintable() or character == "\n" for character in text)


def test_duplicates_are_readings_of_one_thing_and_customer_with_the_same_time_and_values(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    add(
        lake,
        ("a", None, "10:00", 1.0, "10:01", 1, 0),
        ("a", None, "10:00", 1.0, "10:05", 9, 3),  # sent again in another message
        ("a", None, "10:00", 2.0, "10:01", 1, 1),
        ("a", None, "10:02", 1.0, "10:03", 1, 2),
        ("a", "acme", "10:00", 1.0, "10:01", 1, 0),
        ("b", None, "10:00", 1.0, "10:01", 1, 0),
    )
    found = lake.execute(sql_of("duplicates", "telemetry", SINCE)).fetchall()
    assert [(row[0], row[1], row[-1]) for row in found] == [("a", None, 2)]


def test_days_reads_each_arrival_from_one_of_the_two_tables(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    lake.execute("CREATE TABLE telemetry_daily AS SELECT *, '' AS day FROM telemetry")
    rows = [
        # day of arrival, the reading's own time, thing
        ("2026-11-20", "2026-11-20 10:00", "a"),
        ("2026-11-23", "2026-11-20 11:00", "b"),  # late
        ("2026-11-24", "2026-11-20 12:00", "a"),  # late, and in both tables
        ("2026-11-24", "2026-11-24 12:00", "a"),
        ("2026-11-25", "2031-01-01 00:00", "a"),  # a wrong clock
        ("2026-11-25", "1970-01-01 00:00", "a"),
    ]
    for arrival, own, thing in rows:
        row = [own, thing, f"{arrival} 13:00", f"raw/telemetry/dt={arrival}/hour=13/x.ndjson.gz"]
        columns = "SELECT ? AS timestamp, ? AS thing_name, ? AS received_at, ? AS raw_key"
        lake.execute(f"INSERT INTO telemetry BY NAME {columns}, ? AS dt", [*row, arrival])
        if arrival < "2026-11-25":
            daily = f"INSERT INTO telemetry_daily BY NAME {columns}, ? AS day"
            lake.execute(daily, [*row, own[:10]])
    found = lake.execute(sql_of("days", "telemetry", SINCE)).fetchall()
    assert found == [("2026-11-20", 3, 2), ("2026-11-24", 1, 1), ("2026-11-25", 2, 1)]
