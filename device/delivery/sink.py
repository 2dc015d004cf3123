"""Where a program puts readings: on disk at once, to the broker as soon as it can be reached.

Two threads do the work. The first, the only one that uses the spool, goes round and round: it
removes what the broker has acknowledged, stores the readings that were put meanwhile, packs them,
makes all of that one step on disk, and then sends what may be sent. So one step on disk serves
every reading that came during the step before. The second keeps the device connected.
"""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, Self

from device.delivery import mqtt, prices
from device.delivery.mqtt import Delivery, Outcome
from device.delivery.packer import Packed, Packer
from device.delivery.spool import Message, Spool
from device.errors import (
    ConnectionDropped,
    ConnectionFailed,
    DeviceError,
    SpoolError,
    SpoolFull,
    Unreachable,
)
from device.readings.check import ReadingCheck, ReadingError
from device.readings.encoding import encode

WhenFull = Literal["refuse", "drop_oldest"]

# How long messages that the broker refuses are kept, to be sent again: someone may mend the policy.
REFUSED_KEPT_SECONDS = 7 * 24 * 3600.0
_REFUSED_RETRY_SECONDS = 600.0

# Between attempts to connect: at random up to this, doubled each time, so that a fleet that lost
# its broker does not come back all at once.
# https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0

# So often in a row, a broker that ends connections without a word means it.
_MOST_DROPS = 3
# Unless it does so over single messages: these it may be, before it means all of them.
_MOST_HELD = 5

# Readings that are put faster than the disk takes them wait in memory, but not more than these.
_MOST_WAITING = 10_000

_CONNECTION_POLL_SECONDS = 0.2
_DISCONNECT_SECONDS = 6.0


class Connection(Protocol):
    """What a sink needs of ``device.delivery.mqtt.Connection``."""

    @property
    def failure(self) -> ConnectionFailed | None:
        """Why the connection is gone for good; None while it is not."""

    def connect(self) -> None:
        """Connect."""

    def publish(self, topic: str, payload: bytes) -> "Future[Delivery]":
        """Send one message."""

    def close(self) -> None:
        """Disconnect, which completes every pending message."""


@dataclass(slots=True)
class Totals:
    """What became of everything so far, counted in readings unless it says otherwise.

    Attributes:
        taken: Put, and on disk.
        earlier: Were in the spool already when it was opened, from an earlier run.
        published: Sent at least once: the sum of the next four, and of what was dropped after.
        acknowledged: The broker has them; they left the spool.
        refused: The broker refuses them for now; they stay in the spool.
        unknown: No answer yet; they stay in the spool.
        dropped: Removed without an acknowledgement: the oldest of a full spool, or refused for
            longer than ``REFUSED_KEPT_SECONDS``.
        spooled: In the spool now.
        messages: Messages that were acknowledged.
        units: Metering units of these (see ``device.delivery.prices``).
        cost_usd: What these cost up to the raw bucket.
        cost_unpacked_usd: What their readings would have cost, each as a message of its own.
    """

    taken: int = 0
    earlier: int = 0
    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    dropped: int = 0
    spooled: int = 0
    messages: int = 0
    units: int = 0
    cost_usd: float = 0.0
    cost_unpacked_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was put: a reading to pack, or a whole message."""

    content: bytes
    whole: bool


class Sink:
    """Takes readings for one topic; made by ``device.open``. A context manager, thread-safe.

    Args:
        spool: Open; closed by ``close``.
        topic: Of every message.
        connect: Makes a connection that is not connected yet.
        check: Of ``put``; None: none.
        pack: Several readings to a message; otherwise each is one.
        max_linger_seconds: How long a reading waits for others to fill its message.
        when_full: See ``device.open``.
        clock: Seconds since the Unix epoch.

    Raises:
        ValueError: ``max_linger_seconds`` is not a duration.
    """

    def __init__(
        self,
        spool: Spool,
        topic: str,
        connect: Callable[[], Connection],
        *,
        check: ReadingCheck | None,
        pack: bool,
        max_linger_seconds: float,
        when_full: WhenFull,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not max_linger_seconds >= 0:  # as NaN is not
            spool.close()
            raise ValueError(f"expected seconds to linger, 0 or more, got {max_linger_seconds}")
        self._spool = spool
        self._topic = topic
        self._connect = connect
        self._check = check
        self._pack = pack
        self._max_linger_seconds = max_linger_seconds
        self._when_full = when_full
        self._clock = clock
        # Of the working thread alone.
        self._packer = _packer(topic)
        self._pack_due: float | None = None
        self._cursor = 0  # messages up to this id were sent, or are refused
        self._in_flight: set[int] = set()
        # One of the messages that were in flight makes the broker hang up; see _judge.
        self._one_by_one = False
        self._lone: int | None = None  # the one that was sent last, alone
        self._held: set[int] = set()  # alone when the broker hung up: others are tried first
        self._retried: set[int] = set()  # the same, and another one was acknowledged since
        self._retry_refused_at = time.monotonic() + _REFUSED_RETRY_SECONDS

        self._changed = threading.Condition()  # guards all of what follows
        self._woken = True  # there is something to do
        self._entries: list[_Entry] = []
        self._answers: list[tuple[Message, Delivery]] = []
        self._put = 0  # entries ever put
        self._stored = 0  # of which are on disk
        self._room_bytes = 0
        self._unanswered: dict[int, int] = {}  # sent at least once: id to readings
        self._refused: dict[int, int] = {}  # likewise; not sent again until it is time
        self._totals = Totals()
        self._reasons: Counter[str] = Counter()
        self._connection: Connection | None = None
        self._was_connected = False
        self._trouble: ConnectionFailed | None = None
        self._failure: DeviceError | None = None
        self._broken: SpoolError | None = None
        self._flushing = 0  # calls of flush that wait
        self._all_sent = False
        self._ending = False
        self._ended = False

        self._disconnect = threading.Event()
        try:
            self._adopt()
        except BaseException:
            spool.close()
            raise
        self._worker = threading.Thread(target=self._work, name="device-sink", daemon=True)
        self._connector = threading.Thread(
            target=self._stay_connected, name="device-connector", daemon=True
        )
        self._worker.start()
        self._connector.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except DeviceError:
            if kind is None:  # else what happened first is what a person must see
                raise

    # What a program calls.

    def put(self, reading: Mapping[str, Any]) -> None:
        """Take ``reading``; when this returns, it is on disk.

        One reading per call: a list of readings is refused.

        Raises:
            ReadingError: It is not a mapping, holds what JSON does not have (NaN, a Decimal, bytes,
                a set, half a surrogate pair, itself), does not fit the contract, or is longer than
                a message may be. It was not taken.
            SpoolFull: There is no room, and ``when_full`` is ``"refuse"``.
            SpoolError: The spool cannot be written, or the sink is closed.
        """
        content = encode(reading)
        if self._check is not None:
            self._check.check(content)
        self.put_content(content)

    def put_content(self, content: bytes, *, whole: bool = False, wait: bool = True) -> None:
        """Take a reading that was encoded, and checked, elsewhere.

        Args:
            content: One JSON object.
            whole: ``content`` is any payload, and is sent as it is; it counts as one reading.
            wait: Return when it is on disk; otherwise ``flush`` and ``close`` see to that.

        Raises:
            ReadingError: It is longer than a message may be.
            SpoolFull: There is no room, and ``when_full`` is ``"refuse"``.
            SpoolError: The spool cannot be written, or the sink is closed.
        """
        if len(content) > mqtt.MAX_PAYLOAD_BYTES:
            raise ReadingError(
                f"$: expected a reading of at most {mqtt.MAX_PAYLOAD_BYTES} bytes, as the broker "
                f"takes, got {len(content)}"
            )
        with self._changed:
            self._changed.wait_for(lambda: len(self._entries) < _MOST_WAITING or self._is_closed())
            if self._is_closed():
                raise self._broken or SpoolError("the sink is closed; nothing more can be put")
            if self._when_full == "refuse":
                if self._room_bytes < len(content):
                    raise SpoolFull(
                        "no room in the spool for another reading, which was not taken; it has "
                        f"{self._totals.spooled} that wait for the broker"
                    )
                self._room_bytes -= len(content)
            self._entries.append(_Entry(content, whole or not self._pack))
            self._put += 1
            number = self._put
            self._wake()
            if wait:
                self._changed.wait_for(lambda: self._stored >= number or self._ended)
                if self._stored < number:
                    raise self._broken or SpoolError("the sink was closed; this was not taken")

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Send everything now, full messages or not, and wait for the answers.

        Returns:
            Whether the broker has acknowledged all of it. Otherwise time is up, or the broker
            refuses some; all of that stays in the spool.

        Raises:
            DeviceError: The broker does not let this device connect; see ``failure``.
            SpoolError: The spool cannot be written.
        """
        with self._changed:
            self._flushing += 1
            self._all_sent = False
            self._wake()
            try:
                self._changed.wait_for(
                    lambda: self._all_sent or self._failure is not None or self._is_closed(),
                    timeout_seconds,
                )
                # Readings are taken even if there is nowhere to send them.
                self._changed.wait_for(lambda: self._stored == self._put or self._ended)
            finally:  # Ctrl-C too
                self._flushing -= 1
            if self._broken is not None:
                raise self._broken
            if self._failure is not None and self._totals.spooled:
                raise self._failure
            return self._totals.spooled == 0

    def close(self, timeout_seconds: float = mqtt.ACKNOWLEDGEMENT_TIMEOUT_SECONDS + 1.0) -> None:
        """Flush, disconnect and release the spool; what is left in it goes out with the next run.

        Raises:
            DeviceError: As ``flush``.
        """
        try:
            if not self._is_closed():
                self.flush(timeout_seconds)
        finally:
            self._disconnect.set()
            # After this, every message sent has its answer. It may take longer when no message was
            # sent, since nobody answers: that attempt ends by itself.
            self._connector.join(_DISCONNECT_SECONDS)
            with self._changed:
                self._ending = True
                self._wake()
            self._worker.join()

    @property
    def failure(self) -> DeviceError | None:
        """Why this sink will send nothing more, or None.

        The broker says that another client uses this id, or that it does not take the certificate,
        the client id or the topic: trying on would not help. Readings are taken all the same. Or
        it is a ``SpoolError``: the spool cannot be written, and no reading is taken either.
        """
        return self._broken or self._failure

    @property
    def trouble(self) -> ConnectionFailed | None:
        """Why there is no connection at the moment, if an attempt has failed; it tries on."""
        return self._trouble

    @property
    def was_connected(self) -> bool:
        """Whether it has been connected at all."""
        return self._was_connected

    def wait_for_connection(self, timeout_seconds: float) -> bool:
        """Wait until the first attempt to connect is decided; return whether it succeeded."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._was_connected or self._trouble or self._failure, timeout_seconds
            )
            return self._was_connected

    def totals(self) -> Totals:
        """What became of everything so far."""
        with self._changed:
            return replace(
                self._totals,
                unknown=sum(self._unanswered.values()),
                refused=sum(self._refused.values()),
            )

    def reasons(self) -> Counter[str]:
        """Why messages were refused or stayed without an answer, with how many."""
        with self._changed:
            return Counter(self._reasons)

    def _is_closed(self) -> bool:
        return self._ending or self._broken is not None

    def _wake(self) -> None:
        self._woken = True
        self._changed.notify_all()

    # The thread that works.

    def _adopt(self) -> None:
        """Take over what an earlier run left; its readings have waited long enough."""
        spool = self._spool
        with spool.transaction():
            self._totals.dropped = spool.remove_refused(self._clock() - REFUSED_KEPT_SECONDS)
            packers: dict[str, Packer] = {}
            for topic, content in list(spool.readings()):
                packer = packers.setdefault(topic, _packer(topic))
                self._add_messages(topic, packer.add(content))
            for topic, packer in packers.items():
                self._add_messages(topic, packer.rest())
            spool.remove_readings()
        contents = spool.count()
        self._totals.earlier = self._totals.spooled = contents.waiting
        self._room_bytes = spool.room_bytes

    def _work(self) -> None:
        try:
            while self._round():
                pass
        except SpoolError as error:
            with self._changed:
                self._broken = error
        finally:
            with contextlib.suppress(SpoolError):
                self._spool.close()
            with self._changed:
                self._ending = self._ended = True
                self._changed.notify_all()

    def _round(self) -> bool:
        """Do what there is to do; False: nothing will follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken, self._seconds_to_next())
            self._woken = False
            entries, self._entries = self._entries, []
            answers, self._answers = self._answers, []
            connection, flushing, ending = self._connection, self._flushing > 0, self._ending
        self._step(entries, answers, flush=flushing or ending or self._is_due(connection))
        if connection is not None:
            self._send(connection)
        with self._changed:
            self._stored += len(entries)
            # What is refused is not waited for: it would be refused again.
            left = self._totals.spooled - sum(self._refused.values())
            self._all_sent = flushing and left == 0 and not self._entries
            self._changed.notify_all()
        return not ending

    def _seconds_to_next(self) -> float | None:
        """How long there is nothing to do, if nothing happens."""
        due = [self._retry_refused_at] if self._refused else []
        if self._pack_due is not None and self._connection is not None:
            due.append(self._pack_due)
        if not due:
            return None
        return min(max(0.0, min(due) - time.monotonic()), threading.TIMEOUT_MAX)

    def _is_due(self, connection: Connection | None) -> bool:
        """Whether the readings that wait have waited long enough, and can be sent."""
        return (
            connection is not None
            and self._pack_due is not None
            and time.monotonic() >= self._pack_due
        )

    def _step(
        self, entries: list[_Entry], answers: list[tuple[Message, Delivery]], *, flush: bool
    ) -> None:
        """Make one step on disk: what was answered leaves, what was put enters."""
        spool, packer = self._spool, self._packer
        packs = flush and len(packer) > 0
        if not (entries or answers or packs):
            return
        dropped = {}
        aside = self._judge(answers)
        # What the broker has may be sent again after a power failure; all else must be on disk.
        with spool.transaction(durable=bool(entries or aside) or packs):
            for message in aside:
                spool.note_refusal(message.id, self._clock())
            for message, delivery in answers:
                if delivery.outcome is Outcome.ACKNOWLEDGED:
                    spool.remove_message(message.id)
                elif delivery.outcome is Outcome.REFUSED:
                    spool.note_refusal(message.id, self._clock())
            if self._when_full == "drop_oldest":
                dropped = self._make_room(sum(len(entry.content) for entry in entries))
            self._enter(entries, flush=flush)
        if not len(packer):
            self._pack_due = None
        elif self._pack_due is None:
            self._pack_due = time.monotonic() + self._max_linger_seconds
        with self._changed:
            for message, delivery in answers:
                self._count(message, delivery)
            for message in aside:
                self._refused[message.id] = self._unanswered.pop(message.id, message.readings)
                self._reasons["refused: the broker ends the connection"] += message.readings
            for message_id, readings in dropped.items():
                self._unanswered.pop(message_id, None)
                self._refused.pop(message_id, None)
                self._held.discard(message_id)
                self._retried.discard(message_id)
                self._totals.dropped += readings
            self._totals.taken += len(entries)
            self._totals.spooled += len(entries) - sum(dropped.values())
            self._room_bytes = spool.room_bytes - sum(len(e.content) for e in self._entries)

    def _judge(self, answers: list[tuple[Message, Delivery]]) -> list[Message]:
        """Find the messages over which the broker hangs up; they are to be set aside.

        When it has hung up on several in flight, they are sent one by one, in order. One that was
        alone then is not guilty yet: it may be the network, or a broker that takes nothing of this
        device. So it is held back until another one, the newest, is acknowledged; and when the
        broker hangs up on it once more after that, it is guilty.
        """
        guilty = []
        for message, delivery in answers:
            lone = message.id == self._lone
            if delivery.hung_up and not lone:
                self._one_by_one = True
            elif delivery.hung_up and message.id in self._retried:
                self._retried.remove(message.id)
                guilty.append(message)
            elif delivery.hung_up:
                self._held.add(message.id)
            elif delivery.outcome is not Outcome.UNKNOWN:
                self._retried.discard(message.id)
                if not lone or delivery.outcome is not Outcome.ACKNOWLEDGED:
                    continue
                if self._held:
                    self._cursor = min(self._cursor, min(self._held) - 1)
                    self._retried |= self._held
                    self._held.clear()
                elif not self._retried:
                    self._one_by_one = False
        return guilty

    def _make_room(self, needed_bytes: int) -> dict[int, int]:
        """Drop the oldest messages that are not on their way: ids to readings."""
        dropped = {}
        while self._spool.room_bytes < needed_bytes:
            oldest = self._spool.remove_oldest(but=self._in_flight)
            if oldest is None:
                break
            dropped[oldest[0]] = oldest[1]
        return dropped

    def _enter(self, entries: list[_Entry], *, flush: bool) -> None:
        spool, packer = self._spool, self._packer
        waits, packed = [], 0
        for entry in entries:
            if entry.whole:
                spool.add_message(self._topic, entry.content, 1)
            else:
                waits.append(entry.content)
                packed += self._add_messages(self._topic, packer.add(entry.content))
        if flush:
            packed += self._add_messages(self._topic, packer.rest())
        if packed:  # what waits now is less than what waited before
            spool.remove_readings()
            waits = packer.waiting()
        for content in waits:
            spool.add_reading(self._topic, content)

    def _add_messages(self, topic: str, packed: Iterable[Packed]) -> int:
        count = 0
        for message in packed:
            self._spool.add_message(topic, message.payload, message.readings)
            count += 1
        return count

    def _count(self, message: Message, delivery: Delivery) -> None:
        totals = self._totals
        self._in_flight.discard(message.id)
        if delivery.reason:
            self._reasons[f"{delivery.outcome.value}: {delivery.reason}"] += message.readings
        match delivery.outcome:
            case Outcome.ACKNOWLEDGED:
                self._unanswered.pop(message.id, None)
                totals.acknowledged += message.readings
                totals.spooled -= message.readings
                totals.messages += 1
                size = len(message.payload)
                totals.units += prices.units(message.topic, size)
                totals.cost_usd += prices.message_usd(message.topic, size)
                # At least: a reading of more than 5 KB alone would cost more than this.
                totals.cost_unpacked_usd += max(
                    prices.message_usd(message.topic, size),
                    message.readings * prices.message_usd(message.topic, 1),
                )
            case Outcome.REFUSED:
                self._refused[message.id] = self._unanswered.pop(message.id, message.readings)
            case Outcome.UNKNOWN:  # again, before what comes after it
                self._cursor = min(self._cursor, message.id - 1)

    def _send(self, connection: Connection) -> None:
        """Hand over messages, in order, up to what the broker allows without an answer."""
        if self._refused and time.monotonic() >= self._retry_refused_at:
            self._retry_refused_at = time.monotonic() + _REFUSED_RETRY_SECONDS
            with self._changed:
                self._unanswered |= self._refused
                self._cursor = min(self._cursor, min(self._refused) - 1)
                self._refused.clear()
        while messages := self._next():
            for message in messages:
                if message.id not in self._in_flight and message.id not in self._refused:
                    try:
                        answer = connection.publish(message.topic, message.payload)
                    except ConnectionFailed:
                        return
                    self._note_sent(message)
                    answer.add_done_callback(partial(self._answered, message))
                if not self._held:
                    self._cursor = message.id

    def _next(self) -> list[Message]:
        """What may be sent now."""
        if not self._one_by_one:
            free = mqtt.MAX_UNACKNOWLEDGED - len(self._in_flight)
            return self._spool.messages(self._cursor, free) if free > 0 else []
        if self._in_flight:
            return []
        if self._held:
            newest = self._spool.newest(but=self._held | self._refused.keys())
            if newest is not None:
                return [newest]
            self._held.clear()  # there is nothing to compare them with
        return self._spool.messages(self._cursor, 1)

    def _note_sent(self, message: Message) -> None:
        self._in_flight.add(message.id)
        self._lone = message.id if self._one_by_one else None
        with self._changed:
            if message.id not in self._unanswered:
                self._totals.published += message.readings
            self._unanswered[message.id] = message.readings

    def _answered(self, message: Message, answer: "Future[Delivery]") -> None:
        with self._changed:
            self._answers.append((message, answer.result()))
            self._wake()

    # The thread that keeps the device connected.

    def _stay_connected(self) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        drops = 0
        while not self._disconnect.is_set():
            acknowledged = self._totals.messages
            failure = self._connect_once()
            if self._totals.messages > acknowledged:
                backoff, drops = _FIRST_BACKOFF_SECONDS, 0
            drops = drops + 1 if isinstance(failure, ConnectionDropped) else 0
            if failure is None:
                continue
            with self._changed:
                most = _MOST_DROPS + min(len(self._held), _MOST_HELD)
                if isinstance(failure, Unreachable | ConnectionDropped) and drops < most:
                    self._trouble = failure
                    self._changed.notify_all()
                else:
                    self._failure = failure
                    self._changed.notify_all()
                    return
            self._disconnect.wait(random.uniform(0, backoff))  # noqa: S311  # to spread, not to hide
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    def _connect_once(self) -> DeviceError | None:
        """Connect and stay so as long as possible; return what ended it, None: this sink did."""
        connection = self._connect()
        try:
            connection.connect()
        except DeviceError as failure:
            return failure
        with self._changed:
            self._connection, self._was_connected, self._trouble = connection, True, None
            self._wake()
        while connection.failure is None and not self._disconnect.is_set():
            self._disconnect.wait(_CONNECTION_POLL_SECONDS)
        with self._changed:
            self._connection = None
        connection.close()
        return connection.failure


def _packer(topic: str) -> Packer:
    return Packer(prices.METERING_UNIT_BYTES - len(topic.encode()))
