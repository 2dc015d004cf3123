"""Simulated devices that publish side by side, and a report of how the broker answered."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from heapq import heapify, heapreplace

from contracts import Contract
from device import cli, compact_json
from device.delivery import mqtt
from device.delivery.connector import BrokerConnection
from device.delivery.mqtt import PublishOutcome, PublishResult
from device.errors import ConnectionFailed, DeviceError, ExitStatus
from device.identity import Identity
from device.readings.simulator import Simulator

_AT_ONCE = 8
_INTERRUPTED_WAIT_SECONDS = 3.0
_TICK_SECONDS = 0.2


@dataclass(slots=True)
class SimulationReport:
    """What became of the messages.

    Attributes:
        devices: How many were connected.
        failed: Devices that could not connect, or were disconnected for good.
        failed_status: Exit status of the first of these failures.
        seconds: From the first message to the last answer.
        sent: Messages: the sum of the next three.
        acknowledged: The broker has them.
        refused: The broker does not have them, and said why.
        unknown: No answer.
        p50_ms: Half of the acknowledgements took at most this long, in milliseconds; None without
            any. Likewise the next two.
        reasons: What went wrong, and how often.
        interrupted: Ctrl-C ended it early.
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
            f"{cli.counted(self.devices, 'device')}{failed}: sent {self.sent} in "
            f"{self.seconds:.1f} s ({rate:.0f}/s): {self.acknowledged} acknowledged, "
            f"{self.refused} refused, {self.unknown} unknown"
        )
        if self.p50_ms is None:
            return text
        return (
            f"{text}\nlatency: p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms, "
            f"p99 {self.p99_ms:.1f} ms"
        )


class _Simulated:
    """One device: its connection, and its next reading."""

    def __init__(self, connection: BrokerConnection, topic: str, simulator: Simulator) -> None:
        self.connection = connection
        self._topic = topic
        self._simulator = simulator
        self.waiting = 0  # messages without an answer; guarded by the run's lock

    def publish(self) -> "Future[PublishResult]":
        reading = self._simulator.reading()
        return self.connection.publish(self._topic, compact_json.encode(reading))


class Simulation:
    """Simulated devices that publish side by side.

    Args:
        contract: Contract of every reading.
        connect: Makes the connection of an identity, not connected yet.
        progress: Called with the counts so far, often.
    """

    def __init__(
        self,
        contract: Contract,
        connect: Callable[[Identity], BrokerConnection],
        progress: Callable[[SimulationReport], None],
    ) -> None:
        self._contract = contract
        self._connect = connect
        self._progress = progress
        self._report = SimulationReport()
        self._latencies_ms: list[float] = []
        self._lock = threading.Lock()  # guards all of it, which the SDK's threads change

    def run(
        self, identities: Sequence[Identity], *, rate: float, seconds: float
    ) -> SimulationReport:
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
        next_report = now
        while turns and len(gone) < len(everyone):
            due, number = turns[0]
            if due >= end:
                return
            while (left := due - time.monotonic()) > 0 or time.monotonic() >= next_report:
                next_report = time.monotonic() + _TICK_SECONDS
                self._progress(self._report)
                time.sleep(max(0.0, min(left, _TICK_SECONDS)))
            # A device whose messages are not answered skips its turns; the others keep theirs.
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

    def _count(self, device: _Simulated, sent_at: float, answer: "Future[PublishResult]") -> None:
        result, now = answer.result(), time.monotonic()
        with self._lock:
            device.waiting -= 1
            if result.outcome is PublishOutcome.ACKNOWLEDGED:
                self._report.acknowledged += 1
                self._report.unknown -= 1
                self._latencies_ms.append(1000 * (now - sent_at))
            elif result.outcome is PublishOutcome.REFUSED:
                self._report.refused += 1
                self._report.unknown -= 1
            if result.reason:
                self._report.reasons[f"{result.outcome.value}: {result.reason}"] += 1

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
