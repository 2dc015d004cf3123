"""Ask Athena: ``python -m ops.query "SELECT …" --env ENV``, or ``--named`` one of ``--list``.

Queries run in the environment's workgroup, which limits what one may scan. Tables are named
after the channels: ``telemetry`` and ``telemetry_rejected``. Both are partitioned by ``dt`` and
``hour`` of arrival, UTC: name them in WHERE, and only those objects are read and paid for.

The credentials need ``athena:StartQueryExecution``, ``GetQueryExecution``, ``GetQueryResults``
and ``StopQueryExecution``, ``glue:GetDatabase``, ``GetTable`` and ``GetPartitions``, and on the
buckets ``s3:GetBucketLocation``, ``ListBucket``, ``GetObject`` and, for results, ``PutObject``.
"""

import csv
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from contracts import names
from device import cli
from device.aws import AwsEnvironment, explained, session_for
from device.errors import AwsError

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_athena import AthenaClient

# A constant, not current_date: with it, Athena reads the partitions of these days only.
_RECENT = "dt >= '{yesterday}'"

NAMED = {
    "latest": (
        "the last reading of each device since yesterday",
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY thing_name "
        "ORDER BY received_at DESC, raw_line DESC, reading_index DESC) AS newest "
        f"FROM {{table}} WHERE {_RECENT}) AS ranked WHERE newest = 1 ORDER BY thing_name",
    ),
    "volume": (
        "readings and devices per hour of arrival since yesterday",
        "SELECT dt, hour, count(*) AS readings, count(DISTINCT thing_name) AS devices "
        f"FROM {{table}} WHERE {_RECENT} GROUP BY dt, hour ORDER BY dt, hour",
    ),
    "rejected": (
        "why readings were rejected since yesterday, the commonest reason first",
        "SELECT reason, path, count(*) AS readings FROM {table}_rejected "
        f"WHERE {_RECENT} GROUP BY reason, path ORDER BY readings DESC",
    ),
    "duplicates": (
        "readings that arrived more than once since yesterday",
        "SELECT thing_name, reading_id, count(*) AS copies "
        f"FROM {{table}} WHERE {_RECENT} "
        "GROUP BY thing_name, reading_id HAVING count(*) > 1 ORDER BY copies DESC",
    ),
}

_NUMBERS: dict[str, Callable[[str], object]] = {
    "tinyint": int,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "float": float,
    "double": float,
    "decimal": Decimal,
    "boolean": lambda text: text == "true",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its name, and Athena's name of its type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave.

    Attributes:
        columns: In the query's order.
        rows: Athena's text of each value; None is null.
        scanned_bytes: What the query is charged for (https://aws.amazon.com/athena/pricing).
        seconds: From start to the last row.
    """

    columns: tuple[Column, ...]
    rows: list[list[str | None]]
    scanned_bytes: int
    seconds: float

    def records(self) -> Iterator[dict[str, Any]]:
        """The rows as JSON objects, numbers and booleans as such."""
        for row in self.rows:
            yield {
                column.name: value if value is None else _value(column.type, value)
                for column, value in zip(self.columns, row, strict=True)
            }


def _value(type_: str, text: str) -> object:
    value = _NUMBERS.get(type_, str)(text)
    # JSON has neither NaN nor the infinities; as text they survive.
    finite = not isinstance(value, float) or value - value == 0
    return value if finite else text


def run(environment: AwsEnvironment, sql: str) -> Answer:
    """Run ``sql`` to its end; stop it in Athena if interrupted.

    Raises:
        AwsError: It could not be run, failed, or was cancelled, as by the scan limit.
    """
    started = time.monotonic()
    with explained(environment.name):
        athena: AthenaClient = environment.session.client("athena")
        query_id = athena.start_query_execution(
            QueryString=sql,
            QueryExecutionContext={"Database": names.database_name(environment.name)},
            WorkGroup=names.workgroup_name(environment.name),
        )["QueryExecutionId"]
        try:
            scanned = _wait(athena, query_id)
        except KeyboardInterrupt:
            athena.stop_query_execution(QueryExecutionId=query_id)
            raise
        columns: tuple[Column, ...] = ()
        rows: list[list[str | None]] = []
        for page in athena.get_paginator("get_query_results").paginate(QueryExecutionId=query_id):
            result = page["ResultSet"]
            columns = tuple(
                Column(info["Name"], info["Type"])
                for info in result["ResultSetMetadata"]["ColumnInfo"]
            )
            rows += [[cell.get("VarCharValue") for cell in row["Data"]] for row in result["Rows"]]
    # The first row of a SELECT repeats the names; DDL statements give none.
    if rows and rows[0] == [column.name for column in columns]:
        rows = rows[1:]
    return Answer(columns, rows, scanned, time.monotonic() - started)


def _wait(athena: "AthenaClient", query_id: str) -> int:
    pause = 0.1
    while True:
        execution = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        state = execution["Status"]["State"]
        if state == "SUCCEEDED":
            return execution.get("Statistics", {}).get("DataScannedInBytes", 0)
        if state in {"FAILED", "CANCELLED"}:
            reason = execution["Status"].get("StateChangeReason", "no reason given")
            raise AwsError(f"Athena {state.lower()} the query: {' '.join(reason.split())}")
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def table_text(answer: Answer, width: int | None = None) -> str:
    """The answer for a person; ``width`` in characters, None: as wide as it takes."""
    table = Table(show_edge=False, pad_edge=False)
    for column in answer.columns:
        right = column.type in _NUMBERS and column.type != "boolean"
        table.add_column(column.name, justify="right" if right else "left", overflow="fold")
    for row in answer.rows:
        # Text, not markup: a device's value may contain anything.
        table.add_row(*(_printable(value) for value in row))
    out = io.StringIO()
    Console(file=out, width=width or 10_000, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _printable(value: str | None) -> str:
    """No control character of a device reaches the terminal."""
    if value is None:
        return ""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


@click.command(cls=cli.Command, help=__doc__)
@click.argument("sql", required=False)
@cli.environment_option(required=False)
@click.option("--named", type=click.Choice(sorted(NAMED)), help="Run a query of --list.")
@cli.channel_option("Contract whose table --named asks.")
@click.option("--list", "list_", is_flag=True, help="List the named queries and end.")
@cli.format_option("table", "csv", "json", text="Format of stdout; json: one object per line.")
def main(
    sql: str | None,
    *,
    environment: str | None,
    named: str | None,
    channel: str,
    list_: bool,
    output_format: str,
) -> None:
    """Run one query and print its answer."""
    if list_:
        for name, (what, _) in NAMED.items():
            click.echo(f"{name:<11} {what}")
        return
    if (sql is None) == (named is None):
        raise click.UsageError('expected either "SQL" or --named NAME')
    if environment is None:
        raise click.UsageError("expected --env ENV")
    if named is not None:
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        sql = NAMED[named][1].format(table=channel, yesterday=yesterday)
    answer = run(session_for(environment), sql or "")
    if output_format == "json":
        for record in answer.records():
            click.echo(json.dumps(record, ensure_ascii=False, default=str))
    elif output_format == "csv":
        _write_csv(answer.columns, answer.rows)
    elif answer.columns:
        click.echo(table_text(answer, None if sys.stdout.isatty() else 10_000))
    click.echo(
        f"{len(answer.rows)} rows, {answer.scanned_bytes / 1e6:.2f} MB scanned, "
        f"{answer.seconds:.1f} s",
        err=True,
    )


def _write_csv(columns: Sequence[Column], rows: Sequence[Sequence[str | None]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    writer.writerows(rows)
    click.echo(out.getvalue(), nl=False)


if __name__ == "__main__":
    main(prog_name="python -m ops.query")
