"""The worker stores what a program has put, sends it, and removes what was acknowledged.

It works in rounds. In each round it removes what the broker has acknowledged, stores the readings
that were put in the meantime, and sends what ``device.delivery.outbox`` decides. Readings that
arrive during one transaction share the next one.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Literal

from device.delivery.connector import BrokerConnection
from device.delivery.mqtt import PublishOutcome, PublishResult
from device.delivery.outbox import Outbox, QueuedPayload, StoreStep
from device.delivery.spool import Spool, SpooledMessage
from device.delivery.totals import Tally
from device.errors import ConnectionFailed, SpoolError, SpoolFull

WhenFull = Literal["refuse", "drop_oldest"]

REFUSED_KEPT_SECONDS = 7 * 24 * 3600.0
"""How long refused messages are kept, to be sent again: the policy may be fixed meanwhile."""

# How many readings wait in memory at most, when they are put faster than the disk stores them.
_MOST_WAITING = 10_000
# After this long, a full spool tries again: other programs may have freed disk space.
_FULL_SECONDS = 1.0
# When old messages are dropped, free this much more, so that not every reading drops one.
_DROP_BYTES = 16 * 1024


class Worker:
    """The only user of the spool. ``run`` works in a thread; ``put`` may be called by all others.

    Args:
        spool: Open; closed when ``run`` ends.
        topic: Where new readings are published.
        max_linger_seconds: How long a reading waits for others to fill its message.
        when_full: See ``device.open``.
        clock: Returns seconds since the Unix epoch.

    Attributes:
        changed: Notified of every change; guards all other attributes.
        connection: Where to send messages, or None while there is no connection.
        entries: What was put and is not on disk yet.
        tally: What became of everything.
        flushing: How many calls of ``Sink.flush`` wait: also send messages that are not full.
        all_sent: The broker has answered everything that was put before the flush.
        ending: ``run`` ends after its next round.
        ended: ``run`` has ended.
        error: Why the spool cannot be used any more, or None.
    """

    def __init__(
        self,
        spool: Spool,
        topic: str,
        *,
        max_linger_seconds: float,
        when_full: WhenFull,
        clock: Callable[[], float],
    ) -> None:
        expired = spool.refused(before=clock() - REFUSED_KEPT_SECONDS)
        spool.remove(expired)
        self._spool = spool
        self._when_full = when_full
        self._clock = clock
        self._outbox = Outbox(
            topic,
            max_linger_seconds=max_linger_seconds,
            step_bytes=spool.step_bytes,
            last_id=spool.last_id(),
            readings=spool.readings(),
            refused=spool.refused(),
            now=time.monotonic(),
        )
        self.changed = threading.Condition()
        self.connection: BrokerConnection | None = None
        self.entries: list[QueuedPayload] = []
        self.tally = Tally(earlier=spool.count().waiting, dropped=sum(expired.values()))
        self.flushing = 0
        self.all_sent = False
        self.ending = False
        self.ended = False
        self.error: SpoolError | None = None
        self._woken = True  # there is something to do
        self._answers: list[tuple[SpooledMessage, PublishResult]] = []
        self._room_bytes = spool.room_bytes
        self._waiting_bytes = 0  # of the entries
        self._full_until = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be put."""
        return self.ending or self.error is not None

    @property
    def is_full(self) -> bool:
        """Whether the spool had no room for what was put last."""
        return self._full_until > 0

    def wake(self) -> None:
        """Start a round: something has changed."""
        with self.changed:
            self._woken = True
            self.changed.notify_all()

    def put(self, entry: QueuedPayload) -> None:
        """Take ``entry``, and wait until it is on disk if it is to be waited for.

        Raises:
            SpoolFull: There is no room, and ``when_full`` is ``"refuse"``; or the disk has too
                little room for a reading of this length. It was not taken.
            SpoolError: The spool cannot be written, or was closed. It was not taken.
        """
        size = len(entry.payload)
        if size > self._spool.step_bytes:  # the disk has little room; dropping messages is no help
            raise self._full()
        with self.changed:
            if len(self.entries) >= _MOST_WAITING:
                self.changed.wait_for(lambda: len(self.entries) < _MOST_WAITING or self.is_closed)
            if self.is_closed:
                raise self.error or SpoolError("the sink is closed; nothing more can be put")
            if self._when_full == "refuse":
                # While the spool is full, one reading at a time tries whether there is room again.
                is_tried = self.is_full and (self.entries or time.monotonic() < self._full_until)
                if is_tried or self._room_bytes - self._waiting_bytes < size:
                    raise self._full()
            self.entries.append(entry)
            self._waiting_bytes += size
            if not self._woken:
                self.wake()
        if entry.decided is None:
            return
        entry.decided.acquire()
        if entry.stored:
            return
        if not self.ended:
            raise self._full()
        raise self.error or SpoolError("the sink was closed; this was not taken")

    def _full(self) -> SpoolFull:
        return SpoolFull(
            "no room in the spool for another reading, which was not taken; it has "
            f"{self.tally.spooled} that wait for the broker"
        )

    def run(self) -> None:
        """Work until ``ending`` is set or the spool cannot be used any more."""
        try:
            ending = False
            while not ending:
                with self.changed:
                    self.changed.wait_for(lambda: self._woken, self._seconds_to_next())
                    ending = self.ending
                self.round()
        except SpoolError as error:
            with self.changed:
                self.error = error
        finally:
            with contextlib.suppress(SpoolError):
                self._spool.close()
            with self.changed:
                self.ending = self.ended = True
                self._refuse_waiting(self.entries)

    def _seconds_to_next(self) -> float:
        seconds = self._outbox.seconds_to_next(
            time.monotonic(), connected=self.connection is not None
        )
        return min(_FULL_SECONDS if self.is_full else seconds, threading.TIMEOUT_MAX)

    def round(self) -> None:
        """Do what there is to do now."""
        outbox = self._outbox
        with self.changed:
            self._woken = False
            entries = list(self.entries)
            answers, self._answers = self._answers, []
            connection = self.connection
            flushing = self.flushing > 0
            flush = flushing or self.ending
        self._settle(answers)
        is_due = connection is not None and outbox.is_due(time.monotonic())
        self._store(entries, flush=flush or is_due)
        if connection is not None:
            self._send(connection)
        with self.changed:
            # What is refused is not waited for: it would be refused again.
            left = self.tally.spooled - outbox.refused_readings
            self.all_sent = flushing and left == 0 and not self.entries
            if self.all_sent:
                self.changed.notify_all()

    def _settle(self, answers: list[tuple[SpooledMessage, PublishResult]]) -> None:
        """Remove what was acknowledged, and note what was refused."""
        if not answers:
            return
        judged = [(message, self._outbox.answered(message, answer)) for message, answer in answers]
        by_outcome: dict[PublishOutcome, list[int]] = {outcome: [] for outcome in PublishOutcome}
        for message, result in judged:
            by_outcome[result.outcome].append(message.id)
        self._spool.remove(by_outcome[PublishOutcome.ACKNOWLEDGED])
        if by_outcome[PublishOutcome.REFUSED]:
            self._spool.note_refusals(by_outcome[PublishOutcome.REFUSED], self._clock())
        with self.changed:
            for message, result in judged:
                self.tally.answered(message, result)
            if by_outcome[PublishOutcome.ACKNOWLEDGED]:
                self._full_until = 0.0
            self._room_bytes = self._spool.room_bytes

    def _store(self, entries: list[QueuedPayload], *, flush: bool) -> None:
        """Store what was put, in as few transactions as possible, as far as there is room."""
        done = 0
        while step := self._outbox.next_step(entries[done:], flush=flush):
            try:
                self._spool.add(step.additions)
            except SpoolFull:
                if self._when_full == "drop_oldest" and self._drop_oldest(step):
                    continue
                self._give_back(entries[done:])
                return
            self._outbox.stored(step, time.monotonic())
            stored = entries[done : done + step.entries]
            done += step.entries
            with self.changed:
                for entry in stored:
                    entry.decide(stored=True)
                    self._waiting_bytes -= len(entry.payload)
                del self.entries[: step.entries]
                self.tally.taken(step.entries)
                self._full_until = 0.0
                self._room_bytes = self._spool.room_bytes
                self.changed.notify_all()

    def _give_back(self, entries: list[QueuedPayload]) -> None:
        """Refuse the payloads that a caller waits for, as there is no room; keep the others."""
        with self.changed:
            self._full_until = time.monotonic() + _FULL_SECONDS
            self._refuse_waiting(entries)

    def _refuse_waiting(self, entries: list[QueuedPayload]) -> None:
        for entry in [entry for entry in entries if entry.decided is not None]:
            self.entries.remove(entry)
            self._waiting_bytes -= len(entry.payload)
            entry.decide(stored=False)
        self.changed.notify_all()

    def _drop_oldest(self, step: StoreStep) -> bool:
        """Remove the oldest messages that are not in flight; return False if there are none."""
        dropped = self._spool.oldest(
            2 * step.additions.size_bytes + _DROP_BYTES, but=self._outbox.in_flight
        )
        self._spool.remove(dropped)
        self._outbox.dropped(dropped)
        with self.changed:
            self.tally.dropped(dropped)
        return bool(dropped)

    def _send(self, connection: BrokerConnection) -> None:
        """Hand messages to the connection, in order, up to what the broker allows."""
        while messages := self._outbox.next_messages(self._spool, time.monotonic()):
            for message in messages:
                try:
                    answer = connection.publish(message.topic, message.payload)
                except ConnectionFailed:
                    return
                self._outbox.sent(message)
                with self.changed:
                    self.tally.sent(message)
                answer.add_done_callback(partial(self._answered, message))

    def _answered(self, message: SpooledMessage, answer: "Future[PublishResult]") -> None:
        with self.changed:
            self._answers.append((message, answer.result()))
            self.wake()
