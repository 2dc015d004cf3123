"""Show the messages of the raw bucket, decoded: ``python -m ops.raw --env ENV``.

Prints one JSON object per message, with the raw object's key and the line's number, what AWS IoT
knows about the message, and the decoded payload. A payload that is not whole JSON, or holds
something that JSON cannot repeat, is printed as text, with an error. A line that is not an envelope
may belong to any thing and any time, so it is printed whatever the filters. So is the damage of an
object that cannot be read to its end; its lines before the damage are printed.

FROM and TO are times of arrival. Messages that ops.recover brought back are found by the hour of
their recovery.

The credentials need cloudformation:DescribeStacks, and on the raw bucket s3:ListBucket and
s3:GetObject.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from device import aws, cli, streams
from ops import raw_lines, raw_objects, times
from ops.raw_objects import DamagedObject, RawObject


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages to show.

    Attributes:
        start: Earliest arrival.
        end: Latest arrival, exclusive.
        things: Names of things; empty for all.
    """

    start: datetime
    end: datetime
    things: frozenset[str] = frozenset()

    def takes(self, message: dict[str, Any], found: RawObject) -> bool:
        """Whether to show ``message``; always if its thing or its time cannot be told."""
        thing, time = message.get("thing_name"), message.get("received_at")
        if self.things and thing is not None and thing not in self.things:
            return False
        if time is None:
            return True
        if found.is_recovered:
            return found.hour >= raw_objects.hour_of(self.start)
        return self.start <= datetime.fromisoformat(time) < self.end


def messages(
    found: RawObject, content: io.RawIOBase, wanted: Wanted
) -> Iterator[dict[str, object]]:
    """Yield the messages of one object, and its damage if it has any."""
    number = 0
    try:
        for number, line in enumerate(raw_objects.lines(content), 1):
            if not line.strip():
                continue
            message = raw_lines.shown(line)
            if wanted.takes(message, found):
                yield {"raw_key": found.key, "raw_line": number, **message}
    except DamagedObject as damage:
        yield {"raw_key": found.key, "raw_line": number + 1, "error": f"object: {damage}"}


def _thing_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        cli.thing_name(context, parameter, value)
    return values


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.raw --env dev --thing sensor-1",
        "python -m ops.raw --env dev --from 2026-11-25T10:00 --to 2026-11-25T10:05",
        "python -m ops.raw --env dev --from 2026-11-25 --thing sensor-1 --thing sensor-2",
    ],
    statuses=cli.AWS_STATUSES,
)
@cli.environment_option()
@cli.channel_option("Contract (channel) of the messages.")
@times.span_options(required=False)
@click.option(
    "--thing",
    "things",
    metavar="THING",
    multiple=True,
    callback=_thing_names,
    help="Show only messages of this thing; may be given more than once.",
)
@cli.format_option("json", text="Format of stdout: one JSON object per message and line.")
def main(
    *,
    environment: str,
    channel: str,
    start: datetime | None,
    end: datetime | None,
    things: tuple[str, ...],
    output_format: str,  # noqa: ARG001  # there is only one
) -> None:
    """Print the messages of one channel and time."""
    start, end = times.span(start, end, datetime.now(UTC))
    opened = aws.session_for(environment)
    bucket = raw_objects.bucket_of(opened)
    s3 = opened.client("s3")
    wanted = Wanted(start, end, frozenset(things))
    shown = objects = 0
    with aws.explained(environment), cli.Progress(None) as progress:
        for found in raw_objects.find(s3, bucket, channel, start, end):
            if streams.reader_is_gone():
                break
            for message in messages(found, raw_objects.opened(s3, found), wanted):
                cli.echo_json(message)
                shown += 1
            objects += 1
            progress.show(objects, f"{cli.counted(objects, 'object')} read, at {found.hour}")
    cli.say(f"{cli.counted(shown, 'message')} of {cli.counted(objects, 'object')} read")


if __name__ == "__main__":
    main(prog_name="python -m ops.raw")
