"""ops.scan: objects, bytes and cost of what a statement reads, beside a count by hand."""

from datetime import date

import pytest

from device.errors import AwsError, ExitStatus
from ops.named_queries import NAMED, sql_of
from ops.scan.estimate import Estimate, estimate
from ops.scan.filters import references
from tests.unit.ops.scan.fakes import FakeCatalog, FakeObjects, environment

SIZE = 1_000_000


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog()


@pytest.fixture
def objects() -> FakeObjects:
    """Five days of 24 hours with an object each; five days with two objects; and others."""
    made = FakeObjects()
    for day in range(21, 26):
        for hour in range(24):
            for part in ("parsed", "rejected"):
                key = f"{part}/telemetry/dt=2026-11-{day}/hour={hour:02}/a.parquet"
                made.sizes[key] = SIZE
        for number in range(2):
            made.sizes[f"daily/telemetry/day=2026-11-{day}/{number}.parquet"] = 3 * SIZE
    made.sizes["parsed/telemetry2/dt=2026-11-24/hour=01/a.parquet"] = 10**12
    made.sizes["flat/a.parquet"] = SIZE
    return made


def count(
    catalog: FakeCatalog, objects: FakeObjects, sql: str, most_listed: int = 10_000
) -> Estimate:
    found = estimate(environment(catalog, objects), sql, most_listed)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("sql", "expected", "size"),
    [
        ("SELECT * FROM telemetry WHERE dt = '2026-11-24'", 24, SIZE),
        ("SELECT * FROM telemetry WHERE dt >= '2026-11-24'", 48, SIZE),
        ("SELECT * FROM telemetry WHERE dt = '2026-11-24' AND hour = 7", 1, SIZE),
        ("SELECT * FROM telemetry WHERE hour = 7", 5, SIZE),
        ("SELECT * FROM telemetry WHERE dt IN ('2026-11-21', '2026-11-25')", 48, SIZE),
        ("SELECT * FROM telemetry", 120, SIZE),
        ("SELECT * FROM telemetry WHERE dt = '2026-12-24'", 0, SIZE),
        ("SELECT * FROM telemetry_rejected WHERE dt = '2026-11-24'", 24, SIZE),
        ("SELECT * FROM telemetry_daily WHERE day = '2026-11-24'", 2, 3 * SIZE),
        ("SELECT * FROM telemetry_daily WHERE day < '2026-11-24'", 6, 3 * SIZE),
        ("SELECT * FROM flat", 1, SIZE),
    ],
)
def test_counts_the_objects_of_the_partitions_that_are_read(
    sql: str, expected: int, size: int, catalog: FakeCatalog, objects: FakeObjects
) -> None:
    found = count(catalog, objects, sql)
    assert (found.objects, found.bytes) == (expected, expected * size)
    assert found.is_complete


def test_the_cost_is_that_of_the_bytes_and_of_10_mb_at_least(
    catalog: FakeCatalog, objects: FakeObjects
) -> None:
    one = count(catalog, objects, "SELECT * FROM telemetry WHERE dt = '2026-11-24' AND hour = 1")
    assert one.usd == pytest.approx(10 / 1024**2 * 5)
    # 120,000,000 bytes are 114.4 MB, which Athena rounds up to 115.
    many = count(catalog, objects, "SELECT * FROM telemetry")
    assert many.usd == pytest.approx(115 / 1024**2 * 5)
    assert many.text() == (
        "reads at most 120 objects, 120.00 MB, of telemetry; "
        "costs at most $0.000548 (Athena, us-east-1)"
    )


def test_a_table_that_is_read_twice_counts_twice(
    catalog: FakeCatalog, objects: FakeObjects
) -> None:
    sql = "SELECT * FROM telemetry WHERE dt = '2026-11-24'"
    found = count(catalog, objects, f"{sql} UNION ALL {sql}")
    assert found.objects == 48
    assert found.tables == ["telemetry"]


def test_only_the_days_that_are_read_are_listed(catalog: FakeCatalog, objects: FakeObjects) -> None:
    count(catalog, objects, "SELECT * FROM telemetry WHERE dt IN ('2026-11-21', '2026-11-25')")
    assert objects.listed <= 48 + 2
    objects.requests = 0
    count(catalog, objects, "SELECT * FROM telemetry_daily WHERE day >= '2026-11-22'")
    # One request for the days, and one run of four days, at two objects a page.
    assert objects.requests <= 1 + 4 + 1


def test_counting_stops_at_a_bound_and_says_so(catalog: FakeCatalog, objects: FakeObjects) -> None:
    found = count(catalog, objects, "SELECT * FROM telemetry", most_listed=10)
    assert found.objects == 10
    assert not found.is_complete
    assert "at least 10 objects" in found.text()
    assert "more than $" in found.text()
    assert objects.listed <= 12
    exact = count(catalog, objects, "SELECT * FROM telemetry", most_listed=120)
    assert exact.is_complete


@pytest.mark.parametrize(
    ("sql", "advice"),
    [
        ("SELECT * FROM telemetry", "telemetry: there is no filter on dt"),
        ("SELECT * FROM telemetry WHERE hour = 7", "telemetry: there is no filter on dt"),
        ("SELECT * FROM telemetry_daily", "telemetry_daily: there is no filter on day"),
        ("SELECT * FROM telemetry WHERE dt LIKE '2026%'", "telemetry: the filter on dt is none"),
    ],
)
def test_names_the_filter_that_is_missing(
    sql: str, advice: str, catalog: FakeCatalog, objects: FakeObjects
) -> None:
    (sentence,) = count(catalog, objects, sql).advice
    assert sentence.startswith(advice)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM telemetry WHERE dt = '2026-11-24'",
        "SELECT * FROM telemetry_daily WHERE day > '2026-11-24'",
        "SELECT * FROM flat",
    ],
)
def test_says_nothing_about_a_query_that_names_its_days(
    sql: str, catalog: FakeCatalog, objects: FakeObjects
) -> None:
    assert count(catalog, objects, sql).advice == []


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT * FROM nothing", "SELECT * FROM view"])
def test_a_statement_that_reads_no_table_of_objects_has_no_estimate(
    sql: str, catalog: FakeCatalog, objects: FakeObjects
) -> None:
    assert estimate(environment(catalog, objects), sql) is None


@pytest.mark.parametrize("key", ["dt=2026-11-24/hour=x/y", "dt=2026-11-24/z", "other/hour=7/z"])
def test_an_object_whose_partition_is_odd_is_counted_rather_than_left_out(
    key: str, catalog: FakeCatalog, objects: FakeObjects
) -> None:
    objects.sizes = {f"parsed/telemetry/{key}": SIZE}
    sql = "SELECT * FROM telemetry WHERE dt = '2026-11-24' AND hour = 7"
    assert count(catalog, objects, sql).objects == 1


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_named_query_names_its_days(name: str) -> None:
    found = references(sql_of(name, "telemetry", date(2026, 11, 24)), "telemetry_dev")
    assert found
    for one in found:
        assert one.limits("day" if one.table.endswith("_daily") else "dt")


def test_a_permission_that_is_missing_is_named(catalog: FakeCatalog, objects: FakeObjects) -> None:
    catalog.forbidden = True
    with pytest.raises(AwsError, match="GetTable") as caught:
        count(catalog, objects, "SELECT * FROM telemetry")
    assert caught.value.status == ExitStatus.FORBIDDEN
