"""Follow one message through every hop: ``python -m ops.trace --env ENV``.

Name the message by its place (--raw-key and --raw-line, as in a row of the tables), by AWS IoT's
trace id (--trace-id), or by a thing and a time (--thing and --at; the message that arrived nearest,
at most 5 minutes away). Prints what AWS IoT knows about it, the raw object and line, its rows or
the reasons why they were rejected, the parser's log lines about the object, and the daily objects,
with the seconds since the message arrived.

A trace id, or a thing, is searched in the raw objects of a time: --from and --to, by default the
last hour, or the minutes around --at. At most --most objects are read; stderr says if that was too
few. The command changes nothing.

The credentials need cloudformation:DescribeStacks; s3:ListBucket on both buckets,
s3:GetBucketNotification on the raw bucket, s3:GetObject on raw/*, parsed/*, rejected/* and
manifests/*; lambda:ListEventSourceMappings and GetFunctionConfiguration; logs:FilterLogEvents.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import click
from botocore.exceptions import ClientError

import contracts
from device import aws, cli
from device.aws import AwsEnvironment
from device.errors import AwsError, ExitStatus
from ops import raw_objects, times
from ops.doctor.deployed import Deployed
from ops.raw_objects import DamagedObject, RawObject
from ops.times import Moment
from ops.trace import search, show
from ops.trace.hops import Trace
from ops.trace.search import NEAR, Place, Search

_MOST_OBJECTS = 500
_RAW_KEY = re.compile(r"raw/([a-z][a-z0-9_]*)/dt=\d{4}-\d\d-\d\d/hour=\d\d/[^/]+")


@dataclass(frozen=True, slots=True)
class WantedMessage:
    """The message to follow: a place, a trace id, or a thing and a time.

    Attributes:
        start: Earliest arrival to search.
        end: Latest arrival to search, exclusive.
        most: Raw objects that are read at most.
    """

    raw_key: str | None = None
    raw_line: int | None = None
    trace_id: str | None = None
    thing: str | None = None
    at: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    most: int = _MOST_OBJECTS

    def time(self, now: datetime) -> tuple[datetime, datetime]:
        """The time to search.

        Raises:
            click.UsageError: It ends before it starts.
        """
        start, end = self.start, self.end
        if self.at is not None:
            start, end = start or self.at - NEAR, end or self.at + NEAR
        return times.span(start, end, now)

    def check(self) -> None:
        """Check that exactly one way of naming the message is given, and whole.

        Raises:
            click.UsageError: It is not.
        """
        ways = (
            (self.raw_key, self.raw_line),
            (self.trace_id,),
            (self.thing, self.at),
        )
        given = [way for way in ways if any(part is not None for part in way)]
        if len(given) != 1 or any(part is None for part in given[0]):
            raise click.UsageError(
                "expected one of: --raw-key with --raw-line, --trace-id, --thing with --at"
            )


def _raw_key(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    match = None if value is None else _RAW_KEY.fullmatch(value)
    if value is not None and (match is None or match[1] not in contracts.channels()):
        raise click.BadParameter(
            "expected a key of the form raw/CHANNEL/dt=yyyy-MM-dd/hour=HH/NAME.ndjson.gz"
        )
    return value


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.trace --env dev --thing sensor-1 --at 2026-11-25T10:30",
        "python -m ops.trace --env dev --trace-id 5f2a6d0e-6b1c-4d8e-9a77-0c1d2e3f4a5b",
        "python -m ops.trace --env dev "
        "--raw-key raw/telemetry/dt=2026-11-25/hour=10/batch.ndjson.gz --raw-line 7",
    ],
    statuses=(ExitStatus.NOT_FOUND, *cli.AWS_STATUSES),
)
@cli.environment_option()
@cli.channel_option("Contract (channel) of the message; --raw-key names it itself.")
@click.option(
    "--raw-key", metavar="KEY", callback=_raw_key, help="Key of the raw object, as in raw_key."
)
@click.option(
    "--raw-line",
    type=click.IntRange(min=1),
    metavar="N",
    help="Line of the message in the raw object, from 1.",
)
@click.option("--trace-id", metavar="ID", help="AWS IoT's trace id of the message.")
@click.option(
    "--thing", metavar="THING", callback=cli.thing_name, help="The thing that sent the message."
)
@click.option("--at", type=Moment(), metavar="TIME", help="When the message arrived, UTC.")
@times.span_options(required=False)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=_MOST_OBJECTS,
    show_default=True,
    metavar="N",
    help="Raw objects that a search reads at most.",
)
@cli.format_option("text", "json")
def main(
    *,
    environment: str,
    channel: str,
    raw_key: str | None,
    raw_line: int | None,
    trace_id: str | None,
    thing: str | None,
    at: datetime | None,
    start: datetime | None,
    end: datetime | None,
    most: int,
    output_format: str,
) -> None:
    """Find one message and print its hops."""
    wanted = WantedMessage(raw_key, raw_line, trace_id, thing, at, start, end, most)
    wanted.check()
    if raw_key is not None:
        channel = raw_key.split("/")[1]
    opened = aws.session_for(environment)
    bucket = raw_objects.bucket_of(opened)
    with aws.explained(environment):
        place = _find(opened, bucket, channel, wanted)
        client = cache(opened.client)
        deployed = Deployed(client, environment, channel)
        hops = list(Trace(client, deployed, contracts.load(channel), place).hops())
    if output_format == "json":
        cli.echo_json(show.record(hops))
    else:
        click.echo(show.text(hops))


def _find(
    opened: AwsEnvironment,
    bucket: str,
    channel: str,
    wanted: WantedMessage,
) -> Place:
    """Find the message.

    Raises:
        AwsError: There is no such message.
    """
    s3 = opened.client("s3")

    def open_(found: RawObject) -> Any:
        return raw_objects.opened(s3, found)

    if wanted.raw_key is not None:
        return _at(RawObject(bucket, wanted.raw_key, 0), wanted.raw_line or 0, open_)
    start, end = wanted.time(datetime.now(UTC))
    with cli.Progress(None) as progress:

        def shown(objects: int) -> None:
            progress.show(objects, f"{cli.counted(objects, 'raw object')} searched")

        found = raw_objects.find(s3, bucket, channel, start, end)
        if wanted.trace_id is not None:
            result = search.by_trace_id(found, wanted.trace_id, open_, most=wanted.most, show=shown)
            what = "the trace id"
        else:
            moment = wanted.at or end
            result = search.by_thing(
                found, str(wanted.thing), moment, open_, most=wanted.most, show=shown
            )
            what = f"a message of {wanted.thing}"
    return _checked(result, f"{what} between {cli.utc(start)} and {cli.utc(end)}", opened.name)


def _at(found: RawObject, line: int, open_: Callable[[RawObject], Any]) -> Place:
    try:
        place = search.at(found, line, open_)
    except DamagedObject as damage:
        raise AwsError(f"{found.key} line {line}: {damage}", ExitStatus.NOT_FOUND) from None
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        raise AwsError(
            f"expected the raw object {found.key}, got no such object", ExitStatus.NOT_FOUND
        ) from None
    if place is None:
        raise AwsError(
            f"expected a line {line} in {found.key}, which has fewer", ExitStatus.NOT_FOUND
        )
    return place


def _checked(result: Search, what: str, environment: str) -> Place:
    for key in result.damaged:
        cli.say(f"{key} cannot be read to its end; python -m ops.raw shows what is left")
    read = cli.counted(result.objects, "raw object")
    if result.capped:
        cli.say(f"{read} read, which is the limit; narrow --from and --to, or raise --most")
    if result.place is None:
        raise AwsError(
            f"expected {what}, got none in {read}",
            ExitStatus.NOT_FOUND,
            remedy=f"run python -m ops.recover --env {environment} --dry-run: "
            "it may be undelivered",
        )
    return result.place


if __name__ == "__main__":
    main(prog_name="python -m ops.trace")
