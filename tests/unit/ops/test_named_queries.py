"""ops.named_queries: what they find, in a database in memory."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import duckdb
import pytest

import contracts
from ops import named_queries
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
            "thing_name VARCHAR, topic VARCHAR, received_at TIMESTAMP, raw_key VARCHAR, "
            "raw_line BIGINT, reading_index BIGINT, reading_id VARCHAR, dt VARCHAR, hour VARCHAR)"
        )
        yield connection


def add(lake: duckdb.DuckDBPyConnection, *rows: Row, dt: str = "2026-11-25") -> None:
    for thing, customer, own, value, received, line, index in rows:
        topic = f"dt/dev/{thing}/telemetry" + (f"/{customer}" if customer else "")
        lake.execute(
            "INSERT INTO telemetry BY NAME SELECT ? AS timestamp, ? AS temperature, "
            "? AS thing_name, ? AS topic, ? AS received_at, ? AS raw_line, ? AS reading_index, "
            "? AS dt",
            [f"2026-11-25 {own}", value, thing, topic, f"2026-11-25 {received}", line, index, dt],
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
        "required": ["order"],
        "properties": {
            "order": {"type": "integer"},
            "seen": {"type": "integer", "x-timestamp": "s"},
        },
    }
    contract = contracts.parse("trucks", json.dumps(document))
    sql = named_queries._latest(contract, SINCE)
    assert "least(received_at, received_at)" in sql
    assert '"order", "seen", received_at' in sql  # quoted: SQL reserves the first


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_query_reads_a_few_days_only(name: str) -> None:
    assert "dt >= '2026-11-24'" in sql_of(name, "telemetry", SINCE)
