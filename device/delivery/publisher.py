"""Puts all of a source into a sink, waits for the broker, and counts what became of everything."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from device import cli
from device.delivery import mqtt
from device.delivery.sink import Sink
from device.errors import DeviceError, ExitStatus, SpoolFull
from device.readings.check import ReadingError
from device.readings.complaints import Complaints
from device.readings.sources import Payload, Source, Unusable

# A first attempt to connect, and finding out why it failed.
_CONNECT_SECONDS = mqtt.CONNECT_TIMEOUT_SECONDS + 6.0
# After Ctrl-C: long enough for an answer in flight, short enough for a person who waits.
_INTERRUPTED_WAIT_SECONDS = 3.0
_TICK_SECONDS = 0.2
# A spool that is empty and has no room for this long is on a disk that others have filled.
_NO_ROOM_SECONDS = 3.0


@dataclass(slots=True)
class Summary:
    """What became of everything, counted in readings unless it says otherwise.

    Attributes:
        readings: Taken in this run.
        earlier: In the spool already, from an earlier run.
        published: Sent at least once: the sum of the next three.
        acknowledged: The broker has them.
        refused: The broker does not have them, and said why.
        unknown: No answer; the broker may or may not have them.
        invalid: Not taken, since they do not fit the contract or cannot be read.
        unknown_fields: Names that the contract lacks, with the number of readings that had them.
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
    unknown_fields: dict[str, int] = field(default_factory=dict)
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
        units = cli.counted(self.units, "metering unit")
        return (
            f"{cli.counted(self.messages, 'message')}, {units}; a million such "
            f"readings: ${self.cost_usd * million:.4f}, each as a message of its own: "
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
        reached: Number of the last item up to which all are on disk or invalid; 0 if none is.
        complete: The source was read to its end.
    """

    summary: Summary = field(default_factory=Summary)
    reasons: Counter[str] = field(default_factory=Counter)
    failure: DeviceError | None = None
    interrupted: bool = False
    reached: int = 0
    complete: bool = False

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
        noun: What the source numbers: ``line``, ``message`` or ``reading``.
        verbatim: Every payload is a message as it is.
        rate: Readings per second at most; None for no limit.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        progress: Callable[[Summary], None],
        say: Callable[[str], None],
        noun: str = "reading",
        verbatim: bool = False,
        rate: float | None = None,
    ) -> None:
        self._sink = sink
        self._progress = progress
        self._say = say
        self._complaints = Complaints(say, noun)
        self._verbatim = verbatim
        self._interval = 0.0 if rate is None else 1 / rate
        self._result = Result()
        self._next_look = 0.0
        self._put = deque[int]()  # numbers of what was put, in order, and may not be on disk yet
        self._stored = 0

    def publish(self, source: Source) -> Result:
        """Take all of ``source``, wait for the answers, and close the sink."""
        result, sink = self._result, self._sink
        try:
            try:
                sink.wait_for_connection(_CONNECT_SECONDS)
                self._take_all(source)
                result.complete = True
                self._wait_for_answers(mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0)
            except KeyboardInterrupt:
                result.interrupted = True
                self._wait_for_answers(_INTERRUPTED_WAIT_SECONDS)
        except KeyboardInterrupt:  # the second one: do not wait for the last answers
            pass
        except DeviceError as failure:
            result.failure = failure
        finally:
            self._complaints.finish()
            try:
                sink.close(0)
            except DeviceError as failure:
                result.failure = failure
        result.summary, result.reasons = self._summary(), sink.reasons()
        if self._put:
            result.reached = self._put[0] - 1
        if result.failure is None and result.summary.spooled > result.summary.refused:
            result.failure = sink.connection_error
        return result

    def _summary(self) -> Summary:
        totals = asdict(self._sink.totals())
        while self._put and self._stored < totals["taken"]:
            self._put.popleft()
            self._stored += 1
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
            self._result.reached = item.number
            if time.monotonic() >= self._next_look:
                self._look()

    def _take(self, item: Payload) -> None:
        pack = not self._verbatim and item.payload.lstrip().startswith(b"{")
        told = False
        last_use = time.monotonic()
        self._put.append(item.number)
        while True:
            try:
                self._sink.put_payload(item.payload, pack=pack, wait=False)
            except ReadingError as error:
                self._put.pop()
                self._refuse(Unusable(item.number, str(error)))
            except SpoolFull:
                if not told:
                    self._say("the spool is full; waiting for the broker")
                told = True
                self._look()
                if self._sink.totals().spooled:
                    last_use = time.monotonic()
                elif time.monotonic() - last_use > _NO_ROOM_SECONDS:
                    raise  # an answer cannot make room
                time.sleep(_TICK_SECONDS)
                continue
            return

    def _refuse(self, item: Unusable) -> None:
        self._result.summary.invalid += 1
        self._complaints.add(item.number, item.reason)

    def _look(self) -> None:
        """Raise what makes it useless to go on, and report progress."""
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
            if self._sink.connection_error is not None and not self._sink.was_connected:
                return
            so_many = so_far.acknowledged + so_far.refused
            if so_many > answered and not self._result.interrupted:
                end, answered = time.monotonic() + seconds, so_many
        self._progress(self._summary())
