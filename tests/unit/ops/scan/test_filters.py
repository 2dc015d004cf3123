"""ops.scan: which partitions a statement may read."""

import pytest

from ops.scan.filters import NotUnderstoodError, references

DAYS = ("2026-11-23", "2026-11-24", "2026-11-25")


def read(where: str, *, hour: str | None = None) -> str:
    """The days that are read, by their last digit."""
    sql = f"SELECT count(*) FROM telemetry t {where}"
    (one,) = (found for found in references(sql, "telemetry_dev") if found.table == "telemetry")
    hours = {} if hour is None else {"hour": hour}
    return "".join(day[-1] for day in DAYS if one.may_read({"dt": day, **hours}))


@pytest.mark.parametrize(
    ("where", "days"),
    [
        ("", "345"),
        ("WHERE dt = '2026-11-24'", "4"),
        ("WHERE DT = '2026-11-24'", "4"),
        ("WHERE t.dt = '2026-11-24'", "4"),
        ("WHERE telemetry.dt = '2026-11-24'", "4"),
        ("WHERE \"dt\" = '2026-11-24'", "4"),
        ("WHERE '2026-11-24' = dt", "4"),
        ("WHERE '2026-11-24' <= dt", "45"),
        ("WHERE dt >= '2026-11-24'", "45"),
        ("WHERE dt > '2026-11-24'", "5"),
        ("WHERE dt < '2026-11-24'", "3"),
        ("WHERE dt <= '2026-11-24'", "34"),
        ("WHERE dt <> '2026-11-24'", "35"),
        ("WHERE dt != '2026-11-24'", "35"),
        ("WHERE dt BETWEEN '2026-11-24' AND '2026-12-01'", "45"),
        ("WHERE dt NOT BETWEEN '2026-11-24' AND '2026-12-01'", "3"),
        ("WHERE dt IN ('2026-11-23', '2026-11-25')", "35"),
        ("WHERE dt NOT IN ('2026-11-23', '2026-11-25')", "4"),
        ("WHERE NOT dt = '2026-11-24'", "35"),
        ("WHERE NOT (dt < '2026-11-24' OR dt > '2026-11-24')", "4"),
        ("WHERE (dt = '2026-11-24' AND (temperature > 3 OR humidity < 2))", "4"),
        ("WHERE temperature > 3 AND dt >= '2026-11-24'", "45"),
        ("WHERE dt = '2026-11-23' OR dt = '2026-11-25'", "35"),
        ("WHERE dt > '9999'", ""),
        # What cannot be judged lets every day pass.
        ("WHERE dt = '2026-11-24' OR temperature > 3", "345"),
        ("WHERE dt LIKE '2026-11-2%'", "345"),
        ("WHERE dt = cast(current_date AS varchar)", "345"),
        ("WHERE dt IN (SELECT day FROM other)", "345"),
        ("WHERE substr(dt, 9) = '24'", "345"),
        ("WHERE dt = thing_name", "345"),
        ("WHERE dt = 20261124", "345"),
        ("WHERE other.dt = '2026-11-24'", "345"),
        ("WHERE dt IS NULL", "345"),
        # A comment or a text is not a filter.
        ("-- WHERE dt = '2026-11-24'", "345"),
        ("WHERE thing_name = 'dt = ''2026-11-24'''", "345"),
    ],
)
def test_a_day_is_read_unless_the_filters_exclude_it(where: str, days: str) -> None:
    assert read(where) == days


@pytest.mark.parametrize(
    ("where", "hour", "is_read"),
    [
        ("WHERE hour = 5", "05", True),
        ("WHERE hour = 5", "06", False),
        ("WHERE hour BETWEEN 4 AND 10", "09", True),
        ("WHERE hour < 10", "10", False),
        ("WHERE hour IN (1, 2)", "03", False),
        ("WHERE hour = 5.5", "06", True),
        ("WHERE hour = 5", "none", True),
    ],
)
def test_hours_are_compared_as_numbers(where: str, hour: str, is_read: bool) -> None:
    assert bool(read(where, hour=hour)) is is_read


def test_an_hour_that_is_not_known_may_be_read() -> None:
    assert read("WHERE hour = 5 AND dt = '2026-11-24'") == "4"


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1", []),
        ("SELECT * FROM (VALUES 1) AS v", []),
        ("SELECT * FROM telemetry", ["telemetry"]),
        ('SELECT * FROM "telemetry_daily"', ["telemetry_daily"]),
        ("SELECT * FROM telemetry_dev.telemetry", ["telemetry"]),
        ("SELECT * FROM AwsDataCatalog.telemetry_dev.telemetry", ["telemetry"]),
        ("SELECT * FROM other.telemetry", []),
        ("TABLE telemetry", ["telemetry"]),
        ("SELECT * FROM a, b", ["a", "b"]),
        ("SELECT * FROM a UNION ALL SELECT * FROM a", ["a", "a"]),
        ("SELECT * FROM a x JOIN b y ON x.i = y.i LEFT JOIN c ON c.i = x.i", ["a", "b", "c"]),
        ("SELECT * FROM a WHERE i IN (SELECT i FROM b)", ["a", "b"]),
        ("WITH w AS (SELECT * FROM a) SELECT * FROM w", ["a"]),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", ["a"]),
        ("INSERT INTO a SELECT * FROM b", ["b"]),
        ("CREATE TABLE a AS SELECT * FROM b", ["b"]),
        ("SELECT * FROM a CROSS JOIN UNNEST(items) AS t (item)", ["a"]),
    ],
)
def test_each_place_that_reads_a_table_of_the_environment_is_found(
    sql: str, tables: list[str]
) -> None:
    assert sorted(one.table for one in references(sql, "telemetry_dev")) == tables


def test_each_place_has_the_filters_of_its_own_select() -> None:
    sql = (
        "SELECT * FROM telemetry WHERE dt = '2026-11-23' "
        "UNION ALL SELECT * FROM telemetry WHERE dt = '2026-11-25'"
    )
    days = [
        [day for day in DAYS if one.may_read({"dt": day})]
        for one in references(sql, "telemetry_dev")
    ]
    assert sorted(days) == [["2026-11-23"], ["2026-11-25"]]


def test_a_join_filters_the_joined_table_only_and_not_if_all_its_rows_are_kept() -> None:
    sql = "SELECT * FROM a {} JOIN b ON b.dt = '2026-11-24' AND a.i = b.i"
    for side, is_read in (("", False), ("LEFT", False), ("RIGHT", True), ("FULL", True)):
        by_name = {one.table: one for one in references(sql.format(side), "telemetry_dev")}
        assert by_name["b"].may_read({"dt": "2026-11-23"}) is is_read
        assert by_name["a"].may_read({"dt": "2026-11-23"})


@pytest.mark.parametrize(
    ("where", "limits", "mentions"),
    [
        ("WHERE dt >= '2026-11-24'", True, True),
        ("WHERE dt = '2026-11-24' OR temperature > 3", False, True),
        ("WHERE dt <> '2026-11-24'", False, True),
        ("WHERE dt LIKE '2026%'", False, True),
        ("WHERE temperature > 3", False, False),
        ("", False, False),
    ],
)
def test_knows_whether_a_filter_limits_the_days(where: str, limits: bool, mentions: bool) -> None:
    (one,) = references(f"SELECT * FROM telemetry {where}", "telemetry_dev")
    assert (one.limits("dt"), one.mentions("dt")) == (limits, mentions)


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT * FROM",
        "(" * 5_000,
        "SELECT " + "(" * 2_000 + "1" + ")" * 2_000,
        "SELECT 1; SELECT 2",
        "",
        "SHOW TABLES",
        "EXPLAIN ANALYZE SELECT * FROM telemetry",
        "UNLOAD (SELECT 1) TO 's3://b/' WITH (format = 'PARQUET')",
        "SELECT '",
    ],
)
def test_what_cannot_be_read_is_said_in_few_words(
    sql: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotUnderstoodError) as caught:
        references(sql, "telemetry_dev")
    assert len(str(caught.value)) < 60
    assert capfd.readouterr().err == ""
