r"""Publish readings as a device: ``python -m device.publish --env ENV --thing THING``.

It needs the identity's folder and nothing else: no AWS credentials. Readings come from the
simulator, from ``--file`` or from ``--message``. Each is on disk, in the spool beside the identity,
before it is sent, and leaves it when the broker has acknowledged it; what an earlier run left there
is sent too. They are packed, several to a message, unless ``--no-pack`` says otherwise; what is not
one JSON object, or not checked, is a message as it is.

A broker that cannot be reached, or is lost, does not stop the taking; what could not be sent goes
out with the next run. When the broker says no to this device, it stops at once. Messages that it
refuses stay in the spool for a week, until the policy is fixed, and hold up nothing. The same goes
for messages that repeatedly make it disconnect. A spool that is full is waited for. ``--topic`` is
a trial, and does without the spool.

The summary on stdout counts readings: acknowledged (the broker has them), refused (it does not),
or unknown (the answer is missing; sent again, they may arrive twice).

``ExitStatus`` in ``device.errors`` tells a program the same.
"""

import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

import contracts
import device
from contracts import Contract, names
from device import cli, identity
from device.cli import Progress
from device.delivery import mqtt
from device.delivery.sink import Sink
from device.delivery.spool import Spool
from device.errors import DeviceError, ExitStatus, SpoolFull
from device.readings import sources
from device.readings.check import ReadingCheck, ReadingError
from device.readings.simulator import Simulator
from device.readings.sources import Payload, Source, Unusable

# A first attempt to connect, and finding out why it failed.
_CONNECT_SECONDS = mqtt.CONNECT_TIMEOUT_SECONDS + 6.0
# After Ctrl-C: long enough for an answer on its way, short enough for a person who waits.
_INTERRUPTED_WAIT_SECONDS = 3.0
_TICK_SECONDS = 0.2
_TRIAL_SPOOL_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Summary:
    """What became of everything, counted in readings unless it says otherwise.

    Attributes:
        readings: Taken in this run.
        earlier: In the spool already, from an earlier run.
        published: Sent at least once: the sum of the next four.
        acknowledged: The broker has them.
        refused: The broker does not have them, and said why.
        unknown: No answer; the broker may or may not have them.
        invalid: Not taken, since they do not fit the contract.
        spooled: Left in the spool for the next run, the refused and unknown ones among them.
        dropped: Refused for so long that they were given up.
        messages: Messages acknowledged.
        units: Metering units of these.
        cost_usd: What these cost up to the raw bucket.
        cost_unpacked_usd: What one message per reading would have cost.
    """

    readings: int = 0
    earlier: int = 0
    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    invalid: int = 0
    spooled: int = 0
    dropped: int = 0
    messages: int = 0
    units: int = 0
    cost_usd: float = 0.0
    cost_unpacked_usd: float = 0.0

    def status(self) -> ExitStatus:
        """The gravest of what happened to the readings."""
        if self.spooled > self.refused:
            return ExitStatus.UNKNOWN
        if self.refused:
            return ExitStatus.REFUSED
        return ExitStatus.INVALID if self.invalid else ExitStatus.OK

    def __str__(self) -> str:
        text = (
            f"published {self.published}: {self.acknowledged} acknowledged, "
            f"{self.refused} refused, {self.unknown} unknown"
        )
        return f"{text}; {self.invalid} invalid, not published" if self.invalid else text

    def cost(self) -> str:
        """What it cost, in words."""
        million = 1_000_000 / max(1, self.acknowledged)
        return (
            f"{_counted(self.messages, 'message')}, {_counted(self.units, 'metering unit')}; a "
            f"million such readings: ${self.cost_usd * million:.4f}, each as a message of its own: "
            f"${self.cost_unpacked_usd * million:.4f}"
        )


@dataclass(slots=True)
class Result:
    """How publishing ended.

    Attributes:
        summary: What became of everything.
        reasons: Why readings were refused or stayed without an answer, with how many.
        failure: Why the rest was left out, or could not be sent.
        interrupted: Ctrl-C; the rest was left out.
    """

    summary: Summary = field(default_factory=Summary)
    reasons: Counter[str] = field(default_factory=Counter)
    failure: DeviceError | None = None
    interrupted: bool = False

    def status(self) -> ExitStatus:
        """The status the command ends with: what ended it early, or the gravest outcome."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        return self.failure.status if self.failure else self.summary.status()


class Publisher:
    """Puts all of a source into a sink, and waits for the broker.

    Args:
        sink: Closed by ``publish``.
        progress: Called with the counts so far, often.
        say: Called with a line for each thing that a person should know.
        verbatim: Every payload is a message as it is.
        rate: Readings a second at most; None: as fast as they come.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        progress: Callable[[Summary], None],
        say: Callable[[str], None],
        verbatim: bool = False,
        rate: float | None = None,
    ) -> None:
        self._sink = sink
        self._progress = progress
        self._say = say
        self._verbatim = verbatim
        self._interval = 0.0 if rate is None else 1 / rate
        self._result = Result()
        self._next_look = 0.0

    def publish(self, source: Source) -> Result:
        """Take all of ``source``, wait for the answers, and close the sink."""
        result, sink = self._result, self._sink
        try:
            try:
                sink.wait_for_connection(_CONNECT_SECONDS)
                self._take_all(source)
                self._wait_for_answers(mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0)
            except KeyboardInterrupt:
                result.interrupted = True
                self._wait_for_answers(_INTERRUPTED_WAIT_SECONDS)
        except KeyboardInterrupt:  # the second one: do not wait for the last answers
            pass
        except DeviceError as failure:
            result.failure = failure
        finally:
            try:
                sink.close(0)
            except DeviceError as failure:
                result.failure = failure
        result.summary, result.reasons = self._summary(), sink.reasons()
        if result.failure is None and result.summary.spooled > result.summary.refused:
            result.failure = sink.trouble
        return result

    def _summary(self) -> Summary:
        totals = asdict(self._sink.totals())
        return Summary(readings=totals.pop("taken"), invalid=self._result.summary.invalid, **totals)

    def _take_all(self, source: Source) -> None:
        due = time.monotonic()
        self._look()
        for item in source:
            if isinstance(item, Unusable):
                self._refuse(item)
            else:
                while (left := due - time.monotonic()) > 0:
                    self._look()
                    time.sleep(min(left, _TICK_SECONDS))
                due = max(due + self._interval, time.monotonic() - 1)  # catch up by 1 s at most
                self._take(item)
            if time.monotonic() >= self._next_look:
                self._look()

    def _take(self, item: Payload) -> None:
        whole = self._verbatim or not item.content.lstrip().startswith(b"{")
        told = False
        while True:
            try:
                self._sink.put_content(item.content, whole=whole, wait=False)
            except ReadingError as error:
                self._refuse(Unusable(item.place, str(error)))
            except SpoolFull:
                if not told:
                    self._say("the spool is full; waiting for the broker")
                told = True
                self._look()
                time.sleep(_TICK_SECONDS)
                continue
            return

    def _refuse(self, item: Unusable) -> None:
        self._result.summary.invalid += 1
        self._say(f"{item.place}: {item.reason}")

    def _look(self) -> None:
        """See that it makes sense to go on, and tell how far it is."""
        self._next_look = time.monotonic() + _TICK_SECONDS
        if self._sink.failure is not None:
            raise self._sink.failure
        self._progress(self._summary())

    def _wait_for_answers(self, seconds: float) -> None:
        """Wait until everything is answered, or until there was no answer for ``seconds``."""
        end, answered = time.monotonic() + seconds, -1
        while not self._sink.flush(_TICK_SECONDS):
            so_far = self._summary()
            self._progress(so_far)
            if so_far.spooled == so_far.refused or time.monotonic() > end:
                return
            if self._sink.trouble is not None and not self._sink.was_connected:
                return
            so_many = so_far.acknowledged + so_far.refused
            if so_many > answered and not self._result.interrupted:
                end, answered = time.monotonic() + seconds, so_many
        self._progress(self._summary())


@click.command(cls=cli.Command)
@click.option("--env", "environment", help="Environment of the identity; goes with --thing.")
@click.option("--thing", "thing_name", help="Thing whose identity is in certs/ENV/THING.")
@cli.customer_option("Publish as this customer of the thing, with its own identity.")
@click.option(
    "--identity",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the identity, instead of --env and --thing.",
)
@cli.channel_option()
@click.option("--count", type=click.IntRange(1), help="Simulated readings.  [default: 1]")
@click.option("--seed", type=int, help="Make the simulated values repeatable.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help="One JSON reading per line, or CSV with a header; - is standard input.",
)
@click.option(
    "--file-format",
    type=click.Choice(["ndjson", "csv"]),
    help="What --file holds.  [default: csv for *.csv, else ndjson]",
)
@click.option("--message", "messages", multiple=True, metavar="JSON", help="A reading; repeatable.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Readings per second.")
@click.option("--pack/--no-pack", default=True, help="Several readings to a message.")
@click.option(
    "--max-linger",
    "max_linger_seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds that a reading waits for others to fill its message.",
)
@click.option("--check/--no-check", default=True, help="Publish only what fits the contract.")
@click.option("--broker", is_flag=True, help="Plain topic, for subscribers; not Basic Ingest.")
@click.option("--topic", help="Another topic altogether, to see whether the policy allows it.")
@cli.format_option("text", "json")
@click.pass_context
def main(
    context: click.Context,
    *,
    environment: str | None,
    thing_name: str | None,
    customer: str | None,
    folder: Path | None,
    channel: str,
    count: int | None,
    seed: int | None,
    file: BinaryIO | None,
    file_format: str | None,
    messages: tuple[str, ...],
    rate: float | None,
    pack: bool,
    max_linger_seconds: float,
    check: bool,  # click passes options by name
    broker: bool,
    topic: str | None,
    output_format: str,
) -> None:
    """Publish readings as a device, with MQTT 5 over mutual TLS and QoS 1.

    Readings are simulated unless --file or --message brings them.
    """
    if file is not None and messages:
        raise click.UsageError("expected --file or --message, got both")
    if (file is not None or messages) and (count is not None or seed is not None):
        raise click.UsageError("--count and --seed are the simulator's; drop them or the input")
    if math.isnan(max_linger_seconds) or (rate is not None and math.isnan(rate)):
        raise click.UsageError("expected numbers for --max-linger and --rate, got nan")
    own = identity.load(_folder(environment, thing_name, customer, folder))
    total: int | None = None
    try:
        contract = contracts.load(channel)
        if file is not None:
            source = _from_file(file, file_format, contract, verbatim=not check)
        elif messages:
            source, total = sources.from_messages(messages), len(messages)
        else:
            total = count or 1
            source = sources.from_simulator(_simulator(contract, seed), total)
        if topic is not None:
            mqtt.check_topic(topic)
    except ValueError as error:  # the contract's, the simulator's or the topic's
        raise click.UsageError(str(error)) from None
    if check:
        source = sources.checked(source, ReadingCheck(contract))
    if topic is not None:
        sink = Sink(
            Spool(None, max_bytes=_TRIAL_SPOOL_BYTES),
            topic,
            lambda: mqtt.Connection(own),
            check=None,
            pack=pack,
            max_linger_seconds=max_linger_seconds,
            when_full="refuse",
        )
    else:
        sink = device.open(
            own,
            channel=channel,
            topic=own.device.topic(channel) if broker else None,
            check=False,
            pack=pack,
            max_linger_seconds=max_linger_seconds,
        )
    if earlier := sink.totals().earlier:
        click.echo(f"sending {_counted(earlier, 'reading')} of an earlier run too", err=True)
    with Progress(total) as progress:
        publisher = Publisher(
            sink,
            progress=lambda so_far: progress.show(so_far.acknowledged, str(so_far)),
            say=progress.say,
            verbatim=not check,
            rate=rate,
        )
        result = publisher.publish(source)
    _report(result, output_format, kept=topic is None)
    context.exit(result.status())


def _folder(
    environment: str | None, thing_name: str | None, customer: str | None, folder: Path | None
) -> Path:
    if folder is not None and (environment, thing_name, customer) == (None, None, None):
        return folder
    if folder is not None or environment is None or thing_name is None:
        raise click.UsageError("expected --env and --thing, or --identity")
    try:
        names.check_thing_name(thing_name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    cli.check_customer(environment, thing_name, customer)
    return identity.folder_of(environment, names.client_id(thing_name, customer))


def _from_file(
    file: BinaryIO, file_format: str | None, contract: Contract, *, verbatim: bool
) -> Source:
    if file_format is None:
        file_format = "csv" if str(getattr(file, "name", "")).endswith(".csv") else "ndjson"
    if file_format == "csv":
        return sources.from_csv(file, contract)
    return sources.from_ndjson(file, verbatim=verbatim)


def _simulator(contract: Contract, seed: int | None) -> Simulator:
    if seed is None:
        seed = random.randrange(2**32)  # noqa: S311  # plausible, not secret
    # What it cannot make up, it never can: say so before connecting.
    Simulator(contract, seed=seed, clock=time.time).reading()
    return Simulator(contract, seed=seed, clock=time.time)


def _report(result: Result, output_format: str, *, kept: bool) -> None:
    summary = result.summary
    for reason, count in result.reasons.most_common():
        click.echo(f"{count} {reason}", err=True)
    if result.failure is not None:
        click.echo(f"error: {result.failure}", err=True)
    if result.interrupted:
        click.echo("interrupted; the rest was not published", err=True)
    if summary.dropped:
        click.echo(f"{_counted(summary.dropped, 'reading')} refused for a week: dropped", err=True)
    if summary.spooled and kept:
        click.echo(
            f"{_counted(summary.spooled, 'reading')} in the spool; the next run sends them",
            err=True,
        )
    if output_format == "json":
        click.echo(json.dumps(asdict(summary)))
        return
    click.echo(str(summary))
    if summary.messages:
        click.echo(summary.cost())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


if __name__ == "__main__":
    main()
