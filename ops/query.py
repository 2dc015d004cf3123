"""Query the tables in Athena: ``python -m ops.query "SELECT …" --env ENV``.

Queries run in the environment's workgroup, which limits how much one query may scan. There are two
tables per channel, such as telemetry and telemetry_rejected. Both are partitioned by dt and hour of
arrival, UTC: name them in WHERE, so that Athena reads, and charges for, only those objects.

Before a query runs, stderr says how many objects the partitions hold that its filters leave, and
what scanning them costs. That is the most that it costs, as Athena skips the columns that are not
needed. --max-cost refuses a query that may cost more. Without it, counting stops at 10,000 objects.

--plot FIELD draws a column of numbers over time instead of printing the rows, with a line for each
thing. The time is the first column that is a timestamp, or else day, or dt and hour.

A statement that may change something, such as DROP TABLE, CREATE TABLE AS or UNLOAD, runs only
with --allow-write.

A table shows the columns that fit the terminal, names the others, and shortens ids. CSV and JSON
contain everything. In CSV, an empty cell is null and "" is an empty string. The second column of
the same name is called NAME_2. Times are in UTC.

The credentials need athena:StartQueryExecution, GetQueryExecution, GetQueryResults and
StopQueryExecution, glue:GetDatabase, GetTable and GetPartitions, and on the buckets
s3:GetBucketLocation, ListBucket, GetObject and, for results, PutObject.
"""

import math
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta

import click

from device import cli
from device.aws import AwsEnvironment, session_for
from device.errors import AwsError, ExitStatus
from ops import tables
from ops.athena import Answer, run
from ops.named_queries import NAMED, sql_of
from ops.statements import reads_no_data, write_in

# With --max-cost, counting goes on for longer: some twenty seconds.
_MOST_COUNTED = 100_000


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.query --env dev --named latest",
        "python -m ops.query --env dev --named latest --columns thing_name,temperature",
        "python -m ops.query --env dev \"SELECT count(*) FROM telemetry WHERE dt = '2026-11-25'\"",
        "python -m ops.query --env dev --named volume --format csv --max-cost 0.01",
        "python -m ops.query --env dev --named volume --plot readings",
    ],
    statuses=[*cli.AWS_STATUSES, ExitStatus.TOO_EXPENSIVE],
)
@click.argument("sql", required=False)
@cli.environment_option(required=False)
@click.option(
    "--named", type=click.Choice(sorted(NAMED)), help="Run this query; --list describes them."
)
@cli.channel_option("Contract whose tables --named reads.")
@click.option("--list", "list_", is_flag=True, help="List the named queries and exit.")
@click.option(
    "--columns",
    metavar="NAMES",
    help="Show only these columns, in this order; separate their names with commas.",
)
@click.option(
    "--plot",
    "plotted",
    metavar="FIELD",
    help="Draw this column over time on the terminal; braille needs UTF-8.",
)
@click.option(
    "--max-cost",
    "max_cost_usd",
    type=click.FloatRange(0),
    metavar="USD",
    help="Do not run a query that may cost more than so many US dollars.",
)
@click.option("--allow-write", is_flag=True, help="Also run SQL that may change something.")
@cli.format_option("table", "csv", "json", text="Format of stdout; json: one object per line.")
def main(
    sql: str | None,
    *,
    environment: str | None,
    named: str | None,
    channel: str,
    list_: bool,
    columns: str | None,
    plotted: str | None,
    max_cost_usd: float | None,
    allow_write: bool,
    output_format: str,
) -> None:
    """Run one query and print its answer."""
    if list_:
        for name, query in NAMED.items():
            click.echo(f"{name:<11} {query.about}")
        return
    if (sql is None) == (named is None):
        raise click.UsageError('expected either "SQL" or --named NAME')
    if environment is None:
        raise click.UsageError("expected --env ENV")
    if plotted is not None:
        _check_plot(columns, output_format)
    if max_cost_usd is not None and not math.isfinite(max_cost_usd):
        raise click.UsageError("expected --max-cost in US dollars, such as 0.50")
    if named is not None:
        sql = sql_of(named, channel, (datetime.now(UTC) - timedelta(days=1)).date())
    verb = write_in(sql or "")
    if verb == "nothing":
        raise click.UsageError("expected a SQL statement, got none")
    if verb is not None and not allow_write:
        raise click.UsageError(
            f"expected one statement that only reads, got {verb}; add --allow-write to run it"
        )
    opened = session_for(environment)
    _say_cost(opened, sql or "", max_cost_usd)
    answer = run(opened, sql or "")
    if named is not None:
        answer = NAMED[named].finish(answer, output_format == "table")
    if plotted is not None:
        _draw(answer, plotted)
    else:
        _show(answer if columns is None else _selected(answer, columns), output_format)
    cli.say(
        f"{cli.counted(len(answer.rows), 'row')}, {answer.scanned_bytes / 1e6:.2f} MB scanned, "
        f"{answer.seconds:.1f} s"
    )


def _say_cost(environment: AwsEnvironment, sql: str, max_cost_usd: float | None) -> None:
    """Say what the query reads and costs.

    Raises:
        AwsError: That is more than ``max_cost_usd``, or cannot be told although it is limited.
    """
    if reads_no_data(sql):
        return
    # The SQL parser takes a quarter of a second, which --help and --list do not need.
    from ops.scan.estimate import MOST_LISTED, estimate  # noqa: PLC0415  # as said
    from ops.scan.filters import NotUnderstoodError  # noqa: PLC0415  # as said

    most = MOST_LISTED if max_cost_usd is None else _MOST_COUNTED
    try:
        found = estimate(environment, sql, most)
    except (NotUnderstoodError, AwsError) as error:
        status = getattr(error, "status", ExitStatus.TOO_EXPENSIVE)
        said = f"cannot tell what the query costs: {error}"
        if max_cost_usd is not None:
            raise AwsError(said, status) from None
        if status not in {ExitStatus.TOO_EXPENSIVE, ExitStatus.FORBIDDEN}:
            raise
        cli.say(said)
        return
    if found is None:
        return
    for sentence in found.advice:
        cli.say(sentence)
    cli.say(found.text())
    if max_cost_usd is not None and (found.usd > max_cost_usd or not found.is_complete):
        raise AwsError(
            f"expected a query of at most ${max_cost_usd:,.6f}, got one that may cost "
            f"{'' if found.is_complete else 'more than '}${found.usd:,.6f}; it was not run",
            ExitStatus.TOO_EXPENSIVE,
            remedy="name fewer days in WHERE, or raise --max-cost",
        )


def _check_plot(columns: str | None, output_format: str) -> None:
    if columns is not None or output_format != "table":
        raise click.UsageError("expected --plot alone, or --columns and --format without it")
    encoding = (sys.stdout.encoding or "").lower()
    if encoding.replace("-", "") != "utf8":
        raise click.UsageError(f"expected stdout in UTF-8 for --plot, got {encoding or 'none'}")


def _draw(answer: Answer, field: str) -> None:
    from ops.plot import PlotError, plot  # noqa: PLC0415  # the library is for --plot alone

    size = shutil.get_terminal_size()
    in_colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        drawn = plot(
            answer, field, width=size.columns, height=min(size.lines - 8, 20), in_colors=in_colors
        )
    except PlotError as error:
        raise click.BadParameter(str(error), param_hint="--plot") from None
    click.echo(drawn.text, color=in_colors)
    if drawn.left_out:
        cli.say(f"{cli.counted(drawn.left_out, 'row')} without a time or a number left out")
    if drawn.series_left_out:
        cli.say(
            f"{cli.counted(drawn.series_left_out, 'thing')} with fewer values left out; "
            "name things in WHERE"
        )


def _selected(answer: Answer, columns: str) -> Answer:
    try:
        return tables.select(answer, [name.strip() for name in columns.split(",")])
    except KeyError as missing:
        known = ", ".join(column.name for column in answer.columns)
        raise click.BadParameter(
            f"expected columns of the answer ({known}), got {missing}", param_hint="--columns"
        ) from None


def _show(answer: Answer, output_format: str) -> None:
    to_terminal = sys.stdout.isatty()
    if output_format == "json":
        for record in answer.records():
            cli.echo_json(record)
    elif output_format == "csv":
        # With color=False, click would remove text that looks like a colour code.
        click.echo(tables.csv_text(answer, for_terminal=to_terminal), nl=False, color=True)
    elif answer.is_text and answer.rows:
        click.echo(tables.plain_text(answer))
    elif answer.columns and not answer.is_text:
        _show_table(answer, shutil.get_terminal_size().columns if to_terminal else None)


def _show_table(answer: Answer, width: int | None) -> None:
    widths = None if width is None else tables.widths(answer, width)
    click.echo(tables.table_text(answer, widths))
    left_out = [column.name for column in answer.columns[len(widths) :]] if widths else []
    if left_out:
        cli.say(
            f"no room for {cli.counted(len(left_out), 'column')}: "
            f"{tables.printable(', '.join(left_out))}; choose with --columns, or use --format json"
        )


if __name__ == "__main__":
    main(prog_name="python -m ops.query")
