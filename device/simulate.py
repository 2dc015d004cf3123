"""Many simulated devices at once: ``python -m device.simulate --env ENV --devices N``.

Each has its own thing, ``sim-0001`` and so on, certificate and connection, all in one process;
what is missing is provisioned first, which alone needs AWS credentials (see ``device.provision``).
Each publishes simulated readings at the given rate, one a message, and nothing is spooled: this is
a trial of the pipeline, not of the device.

The report counts messages, and says how long the broker took to acknowledge them. Ctrl-C ends it
early, with the report.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from heapq import heapify, heapreplace
from typing import Protocol

import click

import contracts
from contracts import Contract
from device import cli, identity
from device.cli import Progress
from device.delivery import mqtt
from device.delivery.mqtt import Delivery, Outcome
from device.errors import ConnectionFailed, DeviceError, ExitStatus, IdentityError
from device.identity import Identity
from device.readings.simulator import Simulator

_MOST_DEVICES = 9999
_AT_ONCE = 8
_INTERRUPTED_WAIT_SECONDS = 3.0
_TICK_SECONDS = 0.2
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_MOST_PUBLISHES_PER_SECOND = 100.0


class Connection(Protocol):
    """What simulating needs of ``device.delivery.mqtt.Connection``."""

    def connect(self) -> None:
        """Connect."""

    def publish(self, topic: str, payload: bytes) -> "Future[Delivery]":
        """Send one message."""

    def close(self) -> None:
        """Disconnect, which completes every pending message."""


@dataclass(slots=True)
class Report:
    """What became of the messages.

    Attributes:
        devices: That were connected.
        failed: Devices that could not connect, or were disconnected for good.
        failed_status: What the first of these failed with.
        seconds: From the first message to the last answer.
        sent: Messages: the sum of the next three.
        acknowledged: The broker has them.
        refused: The broker does not have them, and said why.
        unknown: No answer.
        p50_ms: Half of the acknowledgements took at most this long, in milliseconds; None: there
            were none. Likewise the next two.
        reasons: Of what went wrong, how often.
        interrupted: Ctrl-C.
    """

    devices: int = 0
    failed: int = 0
    failed_status: ExitStatus | None = None
    seconds: float = 0.0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False

    def status(self) -> ExitStatus:
        """The gravest of what happened."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        if self.failed_status is not None:
            return self.failed_status
        if self.unknown:
            return ExitStatus.UNKNOWN
        return ExitStatus.REFUSED if self.refused else ExitStatus.OK

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        rate = self.sent / self.seconds if self.seconds else 0.0
        text = (
            f"{self.devices} devices{failed}: sent {self.sent} in {self.seconds:.1f} s "
            f"({rate:.0f}/s): {self.acknowledged} acknowledged, {self.refused} refused, "
            f"{self.unknown} unknown"
        )
        if self.p50_ms is None:
            return text
        return (
            f"{text}\nlatency: p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms, "
            f"p99 {self.p99_ms:.1f} ms"
        )


class _Simulated:
    """One device: its connection, and its next reading."""

    def __init__(self, connection: Connection, topic: str, simulator: Simulator) -> None:
        self.connection = connection
        self._topic = topic
        self._simulator = simulator
        self.waiting = 0  # messages without an answer; guarded by the run's lock

    def publish(self) -> "Future[Delivery]":
        reading = self._simulator.reading()
        payload = json.dumps(reading, ensure_ascii=False, separators=(",", ":")).encode()
        return self.connection.publish(self._topic, payload)


class Simulation:
    """Simulated devices that publish side by side.

    Args:
        contract: Of every reading.
        connect: Makes the connection of an identity, not connected yet.
        progress: Called with the counts so far, often.
    """

    def __init__(
        self,
        contract: Contract,
        connect: Callable[[Identity], Connection],
        progress: Callable[[Report], None],
    ) -> None:
        self._contract = contract
        self._connect = connect
        self._progress = progress
        self._report = Report()
        self._latencies_ms: list[float] = []
        self._lock = threading.Lock()  # guards all of it, which the SDK's threads change

    def run(self, identities: Sequence[Identity], *, rate: float, seconds: float) -> Report:
        """Connect them all, publish ``rate`` messages a second each, and wait for the answers."""
        report, connected = self._report, list[_Simulated]()
        started = time.monotonic()
        try:
            try:
                with ThreadPoolExecutor(_AT_ONCE) as pool:
                    attempts = [
                        pool.submit(self._connected, seed, own)
                        for seed, own in enumerate(identities)
                    ]
                    try:
                        connected += filter(None, (attempt.result() for attempt in attempts))
                    except BaseException:
                        pool.shutdown(wait=False, cancel_futures=True)
                        connected += [d for a in attempts if a.done() and (d := a.result())]
                        raise
                report.devices = len(connected)
                started = time.monotonic()
                self._publish(connected, rate, started + seconds)
                self._wait_for_answers(mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0)
            except KeyboardInterrupt:
                report.interrupted = True
                self._wait_for_answers(_INTERRUPTED_WAIT_SECONDS)
        except KeyboardInterrupt:  # the second one
            pass
        finally:
            report.seconds = time.monotonic() - started
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for device in connected:
                    pool.submit(device.connection.close)
        with self._lock:
            report.p50_ms, report.p95_ms, report.p99_ms = percentiles(self._latencies_ms)
        return report

    def _connected(self, seed: int, own: Identity) -> _Simulated | None:
        connection = self._connect(own)
        try:
            connection.connect()
        except DeviceError as error:
            self._fail(error)
            return None
        topic = own.device.basic_ingest_topic(self._contract.channel)
        return _Simulated(connection, topic, Simulator(self._contract, seed=seed, clock=time.time))

    def _fail(self, error: DeviceError) -> None:
        with self._lock:
            self._report.failed += 1
            self._report.failed_status = self._report.failed_status or error.status
            self._report.reasons[f"failed: {error}"] += 1

    def _publish(self, devices: Iterable[_Simulated], rate: float, end: float) -> None:
        """Publish in turn, each when it is due; first turns are spread over the first interval."""
        everyone = list(devices)
        interval, now = 1 / rate, time.monotonic()
        turns = [
            (now + interval * number / len(everyone), number) for number in range(len(everyone))
        ]
        heapify(turns)
        gone: set[int] = set()
        next_look = now
        while turns and len(gone) < len(everyone):
            due, number = turns[0]
            if due >= end:
                return
            while (left := due - time.monotonic()) > 0 or time.monotonic() >= next_look:
                next_look = time.monotonic() + _TICK_SECONDS
                self._progress(self._report)
                time.sleep(max(0.0, min(left, _TICK_SECONDS)))
            # A device that the broker leaves without answers loses its turns, not the others'.
            if number not in gone and everyone[number].waiting < mqtt.MAX_UNACKNOWLEDGED:
                try:
                    self._send(everyone[number])
                except ConnectionFailed as error:
                    gone.add(number)
                    self._fail(error)
            heapreplace(turns, (max(due + interval, time.monotonic() - 1), number))

    def _send(self, device: _Simulated) -> None:
        sent_at = time.monotonic()
        answer = device.publish()
        with self._lock:
            self._report.sent += 1
            self._report.unknown += 1  # until it is answered
            device.waiting += 1
        answer.add_done_callback(partial(self._count, device, sent_at))

    def _count(self, device: _Simulated, sent_at: float, answer: "Future[Delivery]") -> None:
        delivery, now = answer.result(), time.monotonic()
        with self._lock:
            device.waiting -= 1
            if delivery.outcome is Outcome.ACKNOWLEDGED:
                self._report.acknowledged += 1
                self._report.unknown -= 1
                self._latencies_ms.append(1000 * (now - sent_at))
            elif delivery.outcome is Outcome.REFUSED:
                self._report.refused += 1
                self._report.unknown -= 1
            if delivery.reason:
                self._report.reasons[f"{delivery.outcome.value}: {delivery.reason}"] += 1

    def _wait_for_answers(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._report.unknown and time.monotonic() < end:
            self._progress(self._report)
            time.sleep(0.02)


def percentiles(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """The 50th, 95th and 99th percentile: the least value that so many per cent do not exceed."""
    if not values:
        return None, None, None
    ranked = sorted(values)
    p50, p95, p99 = (
        round(ranked[-(-len(ranked) * percent // 100) - 1], 3) for percent in (50, 95, 99)
    )
    return p50, p95, p99


def thing_names(count: int) -> list[str]:
    """The names of the first ``count`` simulated devices."""
    return [f"sim-{number:04}" for number in range(1, count + 1)]


def identities_of(environment: str, things: Sequence[str]) -> list[Identity]:
    """The identities of ``things``; what is missing is provisioned, several at once.

    On the local stack all of them are seen to: started anew, it has other ports.

    Raises:
        DeviceError: Provisioning failed; run again, it goes on with what is missing.
    """
    found: dict[str, Identity] = {}
    for thing in things:
        try:
            found[thing] = identity.load(identity.folder_of(environment, thing))
        except IdentityError:
            continue
    missing = [thing for thing in things if thing not in found or environment == "local"]
    if missing:
        # It alone needs boto3 and AWS credentials.
        from device import aws  # noqa: PLC0415
        from device.registry import registration  # noqa: PLC0415

        aws.session_for(environment)  # what is wrong with it is wrong once, not in every thread
        of_thread = threading.local()

        def make(thing: str) -> Identity:
            if not hasattr(of_thread, "environment"):  # a session is not to be shared by threads
                of_thread.environment = aws.session_for(environment)
            return registration.provision(of_thread.environment, thing, lambda _: None)

        with Progress(len(missing)) as progress, ThreadPoolExecutor(_AT_ONCE) as pool:
            attempts = [pool.submit(make, thing) for thing in missing]
            try:
                for done, (thing, attempt) in enumerate(zip(missing, attempts, strict=True), 1):
                    found[thing] = attempt.result()
                    progress.show(done, f"provisioned {done} of {len(missing)} devices")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [found[thing] for thing in things]


@click.command(cls=cli.Command)
@cli.environment_option()
@click.option(
    "--devices",
    type=click.IntRange(1, _MOST_DEVICES),
    default=10,
    show_default=True,
    help="How many: sim-0001, sim-0002, …",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, _MOST_PUBLISHES_PER_SECOND, min_open=True),
    default=1.0,
    show_default=True,
    help="Messages per second of each device.",
)
@click.option(
    "--duration",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds.",
)
@cli.channel_option()
@cli.format_option("text", "json")
@click.pass_context
def main(
    context: click.Context,
    *,
    environment: str,
    devices: int,
    rate: float,
    seconds: float,
    channel: str,
    output_format: str,
) -> None:
    """Publish simulated readings as many devices at once, and report how the broker did."""
    try:
        contract = contracts.load(channel)
        Simulator(contract, seed=0, clock=time.time).reading()
    except ValueError as error:  # no such contract, or nothing that could be made up for it
        raise click.UsageError(str(error)) from None
    identities = identities_of(environment, thing_names(devices))
    with Progress(max(1, round(devices * rate * seconds))) as progress:
        simulation = Simulation(
            contract,
            mqtt.Connection,
            lambda so_far: progress.show(so_far.sent, _so_far(so_far)),
        )
        report = simulation.run(identities, rate=rate, seconds=seconds)
    for reason, count in report.reasons.most_common():
        click.echo(f"{count} {reason}", err=True)
    if report.interrupted:
        click.echo("interrupted; the report is of what was sent until then", err=True)
    click.echo(json.dumps(asdict(report)) if output_format == "json" else str(report))
    context.exit(report.status())


def _so_far(report: Report) -> str:
    return (
        f"sent {report.sent}: {report.acknowledged} acknowledged, {report.refused} refused, "
        f"{report.unknown} under way"
    )


if __name__ == "__main__":
    main()
