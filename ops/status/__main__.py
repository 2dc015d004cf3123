"""Show the whole pipeline at a glance: ``python -m ops.status --env ENV``.

The first line says what to do: the gravest problem, with the command that fixes it or shows more.
Then follow, for each channel and hop, the count of the last hour, the age of the newest object, the
backlog, rejected readings with the top reasons, dead letters, what was not delivered, and fields
that the contract lacks; last the newest rebuild of history and the alarms in ALARM.

Numbers come from CloudWatch metrics where they exist, and otherwise from objects and logs. Only the
prefixes of the last hours are listed; "at least" marks a count that stopped at a limit. The command
changes nothing.

The credentials need cloudformation:DescribeStacks; iot:GetTopicRule;
firehose:DescribeDeliveryStream; s3:GetBucketNotification on the raw bucket, s3:ListBucket on both
buckets, and s3:GetObject on rejected/*; sqs:GetQueueUrl and GetQueueAttributes;
lambda:ListEventSourceMappings and GetFunctionConfiguration; logs:FilterLogEvents;
states:ListExecutions, ListMapRuns and DescribeMapRun; cloudwatch:GetMetricStatistics and
DescribeAlarms.
"""

import sys
import time
from datetime import UTC, datetime

import click

import contracts
from device import aws, cli, streams
from device.aws import AwsEnvironment
from device.errors import ExitStatus
from ops.status import gather, show
from ops.status.verdict import problems

_WATCH_SECONDS = 10


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.status --env dev",
        "python -m ops.status --env dev --channel telemetry --watch",
        "python -m ops.status --env dev --format json",
    ],
    statuses=(ExitStatus.UNHEALTHY, *cli.AWS_STATUSES),
)
@cli.environment_option()
@click.option(
    "--channel",
    "channels",
    type=click.Choice(contracts.channels()),
    multiple=True,
    help="Show only this channel; may be given more than once. The default is all of them.",
)
@click.option(
    "--watch",
    is_flag=True,
    help=f"Show it again every {_WATCH_SECONDS} s, until Ctrl-C.",
)
@cli.format_option("text", "json")
def main(*, environment: str, channels: tuple[str, ...], watch: bool, output_format: str) -> None:
    """Show the state of one environment; end with 0 only if it is healthy."""
    opened = aws.session_for(environment)
    opened.check_stack()
    wanted = channels or contracts.channels()
    healthy = _show_once(opened, wanted, output_format)
    try:
        while watch and not streams.reader_is_gone():
            time.sleep(_WATCH_SECONDS)
            healthy = _show_once(opened, wanted, output_format, again=True)
    except KeyboardInterrupt:
        pass  # how a watch ends
    if not healthy:
        raise SystemExit(ExitStatus.UNHEALTHY)


def _show_once(
    opened: AwsEnvironment, channels: tuple[str, ...], output_format: str, *, again: bool = False
) -> bool:
    """Gather, judge and print the state once; return whether it is healthy."""
    if not again:
        cli.say(f"reading the state of {opened.name} …")
    with aws.explained(opened.name):
        found = gather.snapshot(opened, channels, datetime.now(UTC))
    verdict = problems(found)
    if output_format == "json":
        cli.echo_json(show.record(found, verdict))
    else:
        if again:
            click.clear() if sys.stdout.isatty() else click.echo()
        click.echo(show.text(found, verdict))
    return not verdict


if __name__ == "__main__":
    main(prog_name="python -m ops.status")
