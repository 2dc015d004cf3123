"""ops.statements: what may run without --allow-write."""

import pytest

from ops.statements import reads_no_data, write_in

READS = [
    "SELECT 1",
    "select * from telemetry",
    "  \n\tSELECT 1",
    "SELECT 1;",
    "SELECT 1 ; ; \n",
    "-- drop table telemetry\nSELECT 1",
    "-- to Windows\r\nSELECT 1",
    "/* insert; into */ SELECT 1 /* ; drop table telemetry */",
    "/* two\nlines */ /* twice */ SELECT 1",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "((SELECT 1))",
    "(-- why\nSELECT 1)",
    "SELECT 'a; DROP TABLE telemetry'",
    "SELECT 'it''s; DROP TABLE telemetry'",
    'SELECT "insert; into" FROM telemetry',
    "SELECT '--' AS a, '/*' AS b, 1 AS c",
    "VALUES (1, 'a'), (2, 'b')",
    "TABLE telemetry",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT * FROM a",
    "WITH a AS (SELECT 1), b AS (SELECT 2) (SELECT * FROM a, b)",
    "(WITH a AS (SELECT 1) SELECT * FROM a)",
    "WITH a AS (SELECT 'insert' AS \"insert\") SELECT * FROM a",
    "SHOW TABLES",
    "SHOW CREATE TABLE telemetry",
    "SHOW PARTITIONS telemetry",
    "DESCRIBE telemetry",
    "DESCRIBE FORMATTED telemetry PARTITION (dt='2026-11-25')",
    "DESC telemetry",
    "EXPLAIN SELECT 1",
    "EXPLAIN (FORMAT JSON) SELECT 1",
    "EXPLAIN INSERT INTO telemetry SELECT 1",  # which shows a plan and does nothing
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN ANALYZE VERBOSE WITH a AS (SELECT 1) SELECT * FROM a",
]

WRITES = [
    ("DROP TABLE telemetry", "DROP"),
    ("drop table telemetry", "DROP"),
    ("/* SELECT */ DROP TABLE telemetry", "DROP"),
    ("-- SELECT\nDROP TABLE telemetry", "DROP"),
    ("-- SELECT\rDROP TABLE telemetry", "DROP"),
    ("(DROP TABLE telemetry)", "DROP"),
    ("INSERT INTO telemetry SELECT 1", "INSERT"),
    ("INSERT INTO telemetry WITH a AS (SELECT 1) SELECT * FROM a", "INSERT"),
    ("WITH a AS (SELECT 1) INSERT INTO telemetry SELECT * FROM a", "INSERT"),
    ("WITH a AS (SELECT 1), b (n) AS (SELECT 2) DELETE FROM telemetry", "DELETE"),
    ("WITH a AS (SELECT 1) FROM a INSERT OVERWRITE TABLE telemetry SELECT *", "FROM"),
    ("CREATE TABLE copy AS SELECT * FROM telemetry", "CREATE"),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE"),
    ("CREATE EXTERNAL TABLE t (a int) LOCATION 's3://bucket/'", "CREATE"),
    ("UNLOAD (SELECT * FROM telemetry) TO 's3://bucket/' WITH (format = 'PARQUET')", "UNLOAD"),
    ("EXPLAIN ANALYZE INSERT INTO telemetry SELECT 1", "INSERT"),
    ("EXPLAIN ANALYZE VERBOSE DELETE FROM telemetry", "DELETE"),
    ("explain /* it */ analyze create table copy as select 1", "CREATE"),
    ("ALTER TABLE telemetry SET LOCATION 's3://bucket/'", "ALTER"),
    ("MSCK REPAIR TABLE telemetry", "MSCK"),
    ("OPTIMIZE telemetry REWRITE DATA USING BIN_PACK", "OPTIMIZE"),
    ("VACUUM telemetry", "VACUUM"),
    ("UPDATE telemetry SET temperature = 1", "UPDATE"),
    ("MERGE INTO telemetry USING a ON true WHEN MATCHED THEN DELETE", "MERGE"),
    ("DELETE FROM telemetry", "DELETE"),
    ("TRUNCATE TABLE telemetry", "TRUNCATE"),
    ("EXECUTE drop_it", "EXECUTE"),
    ("PREPARE p FROM SELECT 1", "PREPARE"),
    ("CALL system.drop_stats('telemetry')", "CALL"),
    ("USING EXTERNAL FUNCTION f(a INT) RETURNS INT LAMBDA 'f' SELECT f(1)", "USING"),
    ("GRANT ALL ON telemetry TO PUBLIC", "GRANT"),
    ("SELECT 1; DROP TABLE telemetry", "2 statements"),
    ("SELECT 1; SELECT 2", "2 statements"),
    ("SELECT 'a'; DROP TABLE telemetry --'", "2 statements"),
    ("SELECT 1 -- ;\n; DROP TABLE telemetry", "2 statements"),
    ("", "nothing"),
    (" ; -- nothing", "nothing"),
    ("()", "nothing"),
    ("WITH a AS (SELECT 1)", "WITH without SELECT"),
    ("'SELECT'", "''"),
    ('"select"', "''"),
    ("SELECTED", "SELECTED"),
]


@pytest.mark.parametrize("sql", READS)
def test_a_statement_that_only_reads_passes(sql: str) -> None:
    assert write_in(sql) is None


@pytest.mark.parametrize(("sql", "verb"), WRITES)
def test_any_other_statement_is_named_by_its_verb(sql: str, verb: str) -> None:
    assert write_in(sql) == verb


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SHOW TABLES", True),
        ("-- SELECT\nshow tables", True),
        ("DESCRIBE telemetry", True),
        ("DESC telemetry", True),
        ("EXPLAIN SELECT 1", True),
        ("EXPLAIN ANALYZE SELECT 1", False),
        ("SELECT 'SHOW'", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("", False),
    ],
)
def test_knows_what_shows_the_catalog_or_a_plan_only(sql: str, expected: bool) -> None:
    assert reads_no_data(sql) is expected
