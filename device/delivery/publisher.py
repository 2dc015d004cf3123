"""Put all of a source into a sink, wait for the broker, and report what became of everything."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from device import cli
from device.delivery import mqtt
from device.delivery.sink import Sink
from device.delivery.totals import Totals
from device.errors import DeviceError, ExitStatus, SpoolFull
from device.readings.check import ReadingError
from device.readings.complaints import Complaints
from device.readings.sources import Payload, Source, Unusable

# How long a first attempt to connect and its diagnosis may take.
_CONNECT_SECONDS = mqtt.CONNECT_TIMEOUT_SECONDS + 6.0
# After Ctrl-C: long enough for an answer in flight, short enough for a person who waits.
_INTERRUPTED_WAIT_SECONDS = 3.0
_TICK_SECONDS = 0.2
# If an empty spool has no room for this long, other programs have filled the disk.
_NO_ROOM_SECONDS = 3.0


@dataclass(slots=True)
class PublishingReport:
    """What became of everything, and how publishing ended.

    Attributes:
        totals: What became of the readings that the sink took.
        invalid: Readings that it did not take: they do not fit the contract or cannot be read.
        unknown_fields: Names that the contract lacks, with the number of readings that had them.
        reasons: Why readings were refused or have no answer, with the number of readings.
        failure: Why the rest was left out or could not be sent.
        interrupted: Ctrl-C; the rest was left out.
        reached: Number of the last item up to which all are on disk or invalid; 0 if none is.
        last: Number of the last item that was read, also of one that was skipped; 0 if none was.
        complete: The source was read to its end.
    """

    totals: Totals = field(default_factory=Totals)
    invalid: int = 0
    unknown_fields: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failure: DeviceError | None = None
    interrupted: bool = False
    reached: int = 0
    last: int = 0
    complete: bool = False

    def status(self) -> ExitStatus:
        """The status the command ends with: what ended it early, or the gravest outcome."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        if self.failure is not None:
            return self.failure.status
        if self.totals.spooled > self.totals.refused:
            return ExitStatus.UNKNOWN
        if self.totals.refused:
            return ExitStatus.REFUSED
        return ExitStatus.INVALID if self.invalid else ExitStatus.OK

    def counts(self) -> dict[str, Any]:
        """All counts, for ``--format json``; ``readings`` are those that the sink took."""
        counts = asdict(self.totals)
        readings = counts.pop("taken")
        return {
            "readings": readings,
            **counts,
            "invalid": self.invalid,
            "unknown_fields": dict(self.unknown_fields),
        }

    def __str__(self) -> str:
        totals = self.totals
        text = (
            f"published {totals.published}: {totals.acknowledged} acknowledged, "
            f"{totals.refused} refused, {totals.unknown} unknown"
        )
        return f"{text}; {self.invalid} invalid, not published" if self.invalid else text

    def cost(self) -> str:
        """What it cost, in words."""
        totals = self.totals
        million = 1_000_000 / max(1, totals.acknowledged)
        units = cli.counted(totals.units, "metering unit")
        return (
            f"{cli.counted(totals.messages, 'message')}, {units}; a million such "
            f"readings: ${totals.cost_usd * million:.4f}, each as a message of its own: "
            f"${totals.cost_unpacked_usd * million:.4f}"
        )


class Publisher:
    """Puts all of a source into a sink, and waits for the broker.

    Args:
        sink: Closed by ``publish``.
        progress: Called often, with the report so far.
        say: Called with a line of text for the user.
        noun: What the source numbers: ``line``, ``message`` or ``reading``.
        first: Number of the first item to publish; earlier ones are skipped.
        rate: Readings per second at most; None for no limit.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        progress: Callable[[PublishingReport], None],
        say: Callable[[str], None],
        noun: str = "reading",
        first: int = 1,
        rate: float | None = None,
    ) -> None:
        self._sink = sink
        self._progress = progress
        self._say = say
        self._complaints = Complaints(say, noun)
        self._first = first
        self._interval = 0.0 if rate is None else 1 / rate
        self._report = PublishingReport()
        self._next_check = 0.0
        self._put = deque[int]()  # numbers of what was put, in order, and may not be on disk yet
        self._stored = 0

    def publish(self, source: Source) -> PublishingReport:
        """Take all of ``source``, wait for the answers, and close the sink."""
        report, sink = self._report, self._sink
        try:
            try:
                sink.wait_for_connection(_CONNECT_SECONDS)
                self._take_all(source)
                report.complete = True
                self._wait_for_answers(mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0)
            except KeyboardInterrupt:
                report.interrupted = True
                self._wait_for_answers(_INTERRUPTED_WAIT_SECONDS)
        except KeyboardInterrupt:  # the second one: do not wait for the last answers
            pass
        except DeviceError as failure:
            report.failure = failure
        finally:
            self._complaints.finish()
            try:
                sink.close(0)
            except DeviceError as failure:
                report.failure = failure
        self._count()
        report.unknown_fields, report.reasons = sink.unknown_fields(), sink.reasons()
        if self._put:
            report.reached = self._put[0] - 1
        if report.failure is None and report.totals.spooled > report.totals.refused:
            report.failure = sink.connection_error
        return report

    def _count(self) -> Totals:
        totals = self._report.totals = self._sink.totals()
        while self._put and self._stored < totals.taken:
            self._put.popleft()
            self._stored += 1
        return totals

    def _show_progress(self) -> Totals:
        totals = self._count()
        self._progress(self._report)
        return totals

    def _take_all(self, source: Source) -> None:
        due = time.monotonic()
        self._check_sink()
        for item in source:
            self._report.last = item.number
            if time.monotonic() >= self._next_check:
                self._check_sink()
            if item.number < self._first:
                continue
            if isinstance(item, Unusable):
                self._refuse(item)
            else:
                while (left := due - time.monotonic()) > 0:
                    self._check_sink()
                    time.sleep(min(left, _TICK_SECONDS))
                due = max(due + self._interval, time.monotonic() - 1)  # catch up by 1 s at most
                self._take(item)
            self._report.reached = item.number

    def _take(self, item: Payload) -> None:
        told = False
        last_use = time.monotonic()
        self._put.append(item.number)
        while True:
            try:
                self._sink.put_payload(item.payload, wait=False)
            except ReadingError as error:
                self._put.pop()
                self._refuse(Unusable(item.number, str(error)))
            except SpoolFull:
                if not told:
                    self._say("the spool is full; waiting for the broker")
                told = True
                self._check_sink()
                if self._sink.totals().spooled:
                    last_use = time.monotonic()
                elif time.monotonic() - last_use > _NO_ROOM_SECONDS:
                    raise  # an answer cannot make room
                time.sleep(_TICK_SECONDS)
                continue
            return

    def _refuse(self, item: Unusable) -> None:
        self._report.invalid += 1
        self._complaints.add(item.number, item.reason)

    def _check_sink(self) -> None:
        """Report progress.

        Raises:
            DeviceError: The sink will send nothing more.
        """
        self._next_check = time.monotonic() + _TICK_SECONDS
        if self._sink.failure is not None:
            raise self._sink.failure
        self._show_progress()

    def _wait_for_answers(self, seconds: float) -> None:
        """Wait until everything is answered, or until there was no answer for ``seconds``."""
        end, answered = time.monotonic() + seconds, -1
        while not self._sink.flush(_TICK_SECONDS):
            so_far = self._show_progress()
            if so_far.spooled == so_far.refused or time.monotonic() > end:
                return
            if self._sink.connection_error is not None and not self._sink.was_connected:
                return
            so_many = so_far.acknowledged + so_far.refused
            if so_many > answered and not self._report.interrupted:
                end, answered = time.monotonic() + seconds, so_many
        self._show_progress()
