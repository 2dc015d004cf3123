r"""Publish readings as a device: ``python -m device.publish --env ENV --thing THING``.

It needs the identity's folder and nothing else: no AWS credentials. Readings come from the
simulator, from ``--file`` or from ``--message``; each is one message, with QoS 1. The summary on
stdout counts every message published: acknowledged (the broker has it), refused (it does not),
or unknown (the answer is missing; published again, it may arrive twice).

``ExitStatus`` in ``device.errors`` tells a program the same.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import click

import contracts
from contracts import Contract, names
from device import cli, identity, mqtt, readings
from device.check import ReadingCheck
from device.errors import ConnectionFailed, ExitStatus
from device.identity import Device
from device.mqtt import Delivery, Outcome
from device.progress import Progress
from device.readings import Payload, Source, Unusable
from device.simulator import Simulator

# After Ctrl-C: long enough for an answer on its way, short enough for a person who waits.
_INTERRUPTED_WAIT_SECONDS = 3.0
_TICK_SECONDS = 0.2


class Connection(Protocol):
    """What publishing needs of ``device.mqtt.Connection``."""

    @property
    def failure(self) -> ConnectionFailed | None:
        """Why the connection is gone for good; None while it is not."""

    def publish(self, topic: str, payload: bytes) -> "Future[Delivery]":
        """Send one message."""

    def close(self) -> None:
        """Disconnect, which completes every pending message."""


@dataclass(slots=True)
class Summary:
    """What became of everything, counted in messages.

    Attributes:
        published: Handed to the connection: the sum of the next three.
        acknowledged: The broker has them.
        refused: The broker does not have them, and said why.
        unknown: No answer; the broker may or may not have them.
        invalid: Not published, since they do not fit the contract.
    """

    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    invalid: int = 0

    @property
    def pending(self) -> int:
        """Published, and waiting for an answer."""
        return self.published - self.acknowledged - self.refused - self.unknown

    def status(self) -> ExitStatus:
        """The gravest of what happened to the messages."""
        if self.unknown:
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


@dataclass(slots=True)
class Result:
    """How publishing ended.

    Attributes:
        summary: What became of everything.
        reasons: Why messages were refused or are unknown, with how many.
        failure: The connection's, if it is gone for good and the rest was left out.
        interrupted: Ctrl-C; the rest was left out.
    """

    summary: Summary = field(default_factory=Summary)
    reasons: Counter[str] = field(default_factory=Counter)
    failure: ConnectionFailed | None = None
    interrupted: bool = False

    def status(self) -> ExitStatus:
        """The status the command ends with: what ended it early, or the gravest outcome."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        return self.failure.status if self.failure else self.summary.status()


class Publisher:
    """Publishes to one topic, with at most ``MAX_UNACKNOWLEDGED`` messages without an answer.

    Args:
        connection: Connected; closed by ``publish``.
        topic: Of every message.
        progress: Called with the counts so far, often.
        invalid: Called for what is not published.
        rate: Messages a second at most; None: as fast as the broker answers.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        *,
        progress: Callable[[Summary], None],
        invalid: Callable[[Unusable], None],
        rate: float | None = None,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._progress = progress
        self._invalid = invalid
        self._interval = 0.0 if rate is None else 1 / rate
        self._result = Result()
        self._answered = threading.Condition()  # guards _result, which the SDK's threads change

    def publish(self, source: Source) -> Result:
        """Publish all of ``source``, wait for the answers, and close the connection."""
        wait = mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0
        try:
            try:
                self._send_all(source)
                self._wait_until(self._all_answered, wait)
            except KeyboardInterrupt:
                self._result.interrupted = True
                self._wait_until(self._all_answered, _INTERRUPTED_WAIT_SECONDS)
        except KeyboardInterrupt:  # the second one: do not wait for the last answers
            pass
        except ConnectionFailed as failure:
            self._result.failure = failure
        finally:
            self._connection.close()
        with self._answered:
            left = self._result.summary.pending
            if left:  # interrupted while it was handed over
                self._result.summary.unknown += left
                self._result.reasons["unknown: interrupted"] += left
        return self._result

    def _all_answered(self) -> bool:
        return not self._result.summary.pending

    def _send_all(self, source: Source) -> None:
        summary = self._result.summary
        due = time.monotonic()
        for item in source:
            if isinstance(item, Unusable):
                summary.invalid += 1
                self._invalid(item)
            else:
                self._wait_until(lambda: summary.pending < mqtt.MAX_UNACKNOWLEDGED)
                self._sleep_until(due)
                due = max(due + self._interval, time.monotonic() - 1)  # catch up by 1 s at most
                self._send(item)
            self._progress(summary)

    def _send(self, item: Payload) -> None:
        with self._answered:  # counted first: Ctrl-C may come at any moment
            self._result.summary.published += 1
        try:
            answer = self._connection.publish(self._topic, item.content)
        except ConnectionFailed:
            with self._answered:
                self._result.summary.published -= 1
            raise
        answer.add_done_callback(self._count)

    def _count(self, answer: "Future[Delivery]") -> None:
        delivery = answer.result()
        with self._answered:
            summary = self._result.summary
            match delivery.outcome:
                case Outcome.ACKNOWLEDGED:
                    summary.acknowledged += 1
                case Outcome.REFUSED:
                    summary.refused += 1
                case Outcome.UNKNOWN:
                    summary.unknown += 1
            if delivery.reason:
                self._result.reasons[f"{delivery.outcome.value}: {delivery.reason}"] += 1
            self._answered.notify_all()

    def _wait_until(self, done: Callable[[], bool], seconds: float | None = None) -> None:
        """Wait for answers until ``done``, or until ``seconds`` have passed."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._answered:
            while not done() and (end is None or time.monotonic() < end):
                self._check_connection()
                self._answered.wait(_TICK_SECONDS)
                self._progress(self._result.summary)

    def _sleep_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            self._check_connection()
            time.sleep(min(left, _TICK_SECONDS))

    def _check_connection(self) -> None:
        if self._connection.failure is not None:
            raise self._connection.failure


@click.command(cls=cli.Command)
@click.option("--env", "environment", help="Environment of the identity; goes with --thing.")
@click.option("--thing", "thing_name", help="Thing whose identity is in certs/ENV/THING.")
@click.option(
    "--identity",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the identity, instead of --env and --thing.",
)
@click.option("--channel", default="telemetry", show_default=True, help="Contract to keep to.")
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
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Messages per second.")
@click.option("--check/--no-check", default=True, help="Publish only what fits the contract.")
@click.option("--broker", is_flag=True, help="Plain topic, for subscribers; not Basic Ingest.")
@click.option("--topic", help="Another topic altogether, to see whether the policy allows it.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Of the summary on stdout.",
)
@click.pass_context
def main(
    context: click.Context,
    *,
    environment: str | None,
    thing_name: str | None,
    folder: Path | None,
    channel: str,
    count: int | None,
    seed: int | None,
    file: BinaryIO | None,
    file_format: str | None,
    messages: tuple[str, ...],
    rate: float | None,
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
    own = identity.load(_folder(environment, thing_name, folder))
    total: int | None = None
    try:
        contract = contracts.load(channel)
        if file is not None:
            source = _from_file(file, file_format, contract, verbatim=not check)
        elif messages:
            source, total = readings.from_messages(messages), len(messages)
        else:
            total = count or 1
            source = readings.from_simulator(_simulator(contract, seed), total)
        topic = mqtt.check_topic(topic or _topic(own.device, channel, broker=broker))
    except ValueError as error:  # the contract's, the simulator's or the topic's
        raise click.UsageError(str(error)) from None
    if check:
        source = readings.checked(source, ReadingCheck(contract))
    connection = mqtt.Connection(own)
    connection.connect()
    with Progress(total) as progress:
        publisher = Publisher(
            connection,
            topic,
            progress=lambda so_far: progress.show(so_far.published, str(so_far)),
            invalid=lambda item: progress.say(f"{item.place}: {item.reason}"),
            rate=rate,
        )
        result = publisher.publish(source)
    _report(result, output_format)
    context.exit(result.status())


def _folder(environment: str | None, thing_name: str | None, folder: Path | None) -> Path:
    if folder is not None and environment is None and thing_name is None:
        return folder
    if folder is not None or environment is None or thing_name is None:
        raise click.UsageError("expected --env and --thing, or --identity")
    try:
        return identity.folder_of(environment, names.check_thing_name(thing_name))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _from_file(
    file: BinaryIO, file_format: str | None, contract: Contract, *, verbatim: bool
) -> Source:
    if file_format is None:
        file_format = "csv" if str(getattr(file, "name", "")).endswith(".csv") else "ndjson"
    if file_format == "csv":
        return readings.from_csv(file, contract)
    return readings.from_ndjson(file, verbatim=verbatim)


def _simulator(contract: Contract, seed: int | None) -> Simulator:
    if seed is None:
        seed = random.randrange(2**32)  # noqa: S311  # plausible, not secret
    # What it cannot make up, it never can: say so before connecting.
    Simulator(contract, seed=seed, clock=time.time).reading()
    return Simulator(contract, seed=seed, clock=time.time)


def _topic(device: Device, channel: str, *, broker: bool) -> str:
    build = names.topic if broker else names.basic_ingest_topic
    return build(device.environment, device.thing_name, channel)


def _report(result: Result, output_format: str) -> None:
    for reason, count in result.reasons.most_common():
        click.echo(f"{count} {reason}", err=True)
    if result.failure is not None:
        click.echo(f"error: {result.failure}", err=True)
    if result.interrupted:
        click.echo("interrupted; the rest was not published", err=True)
    if output_format == "json":
        click.echo(json.dumps(asdict(result.summary)))
    else:
        click.echo(str(result.summary))


if __name__ == "__main__":
    main()
