"""Show what passes a hop, live: ``python -m ops.tap --env ENV``.

Prints one line per message, decoded; a field that does not fit the contract is marked, and the line
ends with the reason. --hop chooses what is shown: message (the default), raw, parsed (one line per
row) or rejected (one line per rejected reading).

The hop message shows plain topics over MQTT at once. Messages through Basic Ingest, which
device.publish uses, never reach a subscriber: they are shown as soon as Firehose has written them
to the raw bucket. Each line says which it is, and how old. The other hops show new objects. At the
start the objects of the last minute are shown. The bucket is listed once a second; of many new
objects, and of an object of many lines, a sample is shown, and stderr says so.

It goes on until Ctrl-C, --count lines or --for seconds. The command changes nothing.

The credentials need cloudformation:DescribeStacks; s3:ListBucket and s3:GetObject on the hop's
bucket; and for the hop message iot:DescribeEndpoint, iot:Connect on client/tap-*, iot:Subscribe on
topicfilter/dt/ENV/* and iot:Receive on topic/dt/ENV/*.
"""

import contextlib
import queue
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click

import contracts
from device import aws, cli, streams
from device.aws import AwsEnvironment, stack_outputs
from device.errors import ConnectionFailed
from ops.tap import show
from ops.tap.broker import Subscription
from ops.tap.follow import Follower
from ops.tap.messages import Reader, Tapped

_POLL_SECONDS = 1.0
_MOST_WAITING = 1000
# Messages that came over MQTT are remembered until they are in the raw bucket.
_MOST_REMEMBERED = 10_000


class Tap:
    """Merges what comes over MQTT with what is in the bucket; shows no message twice.

    Args:
        follower: Reads the hop's objects.
        reader: Of the channel.
        notice: Called with a line for stderr.
    """

    def __init__(self, follower: Follower, reader: Reader, notice: Callable[[str], None]) -> None:
        self._follower = follower
        self._reader = reader
        self._notice = notice
        self._waiting: queue.Queue[Tapped] = queue.Queue(_MOST_WAITING)
        self._over_mqtt: Counter[tuple[str | None, str]] = Counter()
        self._lost = 0

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a message of the subscription; called in another thread."""
        try:
            self._waiting.put_nowait(self._reader.message(topic, payload, datetime.now(UTC)))
        except queue.Full:
            self._lost += 1

    def run(self, until: Callable[[], bool]) -> Iterator[Tapped]:
        """Yield what passes, until ``until()``; it is asked at least once a second."""
        next_poll = time.monotonic()
        while not until():
            wait = next_poll - time.monotonic()
            if wait <= 0:
                next_poll = time.monotonic() + _POLL_SECONDS
                for tapped in self._follower.poll(datetime.now(UTC)):
                    if not self._was_shown(tapped):
                        yield tapped
                if self._lost:
                    lost, self._lost = self._lost, 0
                    self._notice(f"a sample: {cli.counted(lost, 'message')} over MQTT not shown")
                continue
            with contextlib.suppress(queue.Empty):
                tapped = self._waiting.get(timeout=wait)
                if len(self._over_mqtt) >= _MOST_REMEMBERED:
                    self._over_mqtt.clear()
                self._over_mqtt[_identity(tapped)] += 1
                yield tapped

    def _was_shown(self, tapped: Tapped) -> bool:
        """Whether it came over MQTT before."""
        identity = _identity(tapped)
        if self._over_mqtt[identity] <= 0:
            del self._over_mqtt[identity]
            return False
        self._over_mqtt[identity] -= 1
        return True


def _identity(tapped: Tapped) -> tuple[str | None, str]:
    return tapped.topic, repr((tapped.payload, tapped.text))


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.tap --env dev --thing sensor-1",
        "python -m ops.tap --env dev --hop rejected --for 60",
        "python -m ops.tap --env dev --hop raw --count 10 --format json",
    ],
    statuses=cli.AWS_STATUSES,
)
@cli.environment_option()
@click.option(
    "--hop",
    type=click.Choice(["message", "raw", "parsed", "rejected"]),
    default="message",
    show_default=True,
    help="What to show.",
)
@click.option(
    "--thing",
    metavar="THING",
    callback=cli.thing_name,
    help="Show only what this thing sent; the default is all things.",
)
@cli.channel_option("Contract (channel) of the messages.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many lines.")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End after so many seconds.",
)
@cli.format_option("text", "json")
def main(
    *,
    environment: str,
    hop: str,
    thing: str | None,
    channel: str,
    count: int | None,
    seconds: float | None,
    output_format: str,
) -> None:
    """Show what passes one hop of one channel."""
    end = None if seconds is None else time.monotonic() + seconds
    shown = 0

    def until() -> bool:
        return (
            (count is not None and shown >= count)
            or (end is not None and time.monotonic() >= end)
            or streams.reader_is_gone()
        )

    opened = aws.session_for(environment)
    opened.check_stack()
    try:
        with aws.explained(environment), contextlib.ExitStack() as stack:
            tap = _open(opened, hop, thing, channel, stack)
            for tapped in tap.run(until):
                if thing is not None and tapped.thing_name not in {thing, None}:
                    continue
                _print(tapped, output_format)
                shown += 1
                if until():
                    break
    except KeyboardInterrupt:
        pass  # how it is ended
    cli.say(f"{cli.counted(shown, 'line')} shown")


def _open(
    opened: AwsEnvironment, hop: str, thing: str | None, channel: str, stack: contextlib.ExitStack
) -> Tap:
    """Start to follow the hop."""
    outputs = stack_outputs(opened.client("cloudformation"), opened.name)
    reader = Reader(contracts.load(channel))
    follower = Follower(
        opened.client("s3"),
        outputs["RawBucket" if hop in {"message", "raw"} else "ParsedBucket"],
        hop=hop,
        channel=channel,
        reader=reader,
        started=datetime.now(UTC),
        notice=cli.say,
    )
    tap = Tap(follower, reader, cli.say)
    if hop != "message":
        cli.say(f"showing the new objects under {hop}/{channel}/")
        return tap
    # AWS IoT's "topic/#" does not match "topic" itself.
    plain = f"dt/{opened.name}/{thing or '+'}/{channel}"
    try:
        stack.enter_context(Subscription(opened, [plain, f"{plain}/+"], tap.receive))
        cli.say(
            f"showing {plain} over MQTT, and Basic Ingest from new objects under raw/{channel}/"
        )
    except ConnectionFailed as failure:
        cli.say(f"warning: {failure}")
        cli.say(f"showing only the new objects under raw/{channel}/")
    return tap


def _print(tapped: Tapped, output_format: str) -> None:
    now = datetime.now(UTC)
    if output_format == "json":
        cli.echo_json(show.record(tapped, now))
    else:
        click.echo(show.line(tapped, now))


if __name__ == "__main__":
    main(prog_name="python -m ops.tap")
