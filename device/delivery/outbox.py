"""The outbox decides what to store and what to send next.

Pure: no threads, clock, disk or network. The worker carries its decisions out, and reports back.

Messages are sent in order, several without an answer at a time, and again when there was no answer.
A message that the broker refuses is sent again only after all others, by itself. When the broker
ends the connection, one of the messages in flight may be the cause. They are then sent one by one,
and a message that makes the broker disconnect while it is alone counts as refused too.
"""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from device.delivery import mqtt, prices
from device.delivery.mqtt import PublishOutcome, PublishResult
from device.delivery.packer import Packer
from device.delivery.spool import Additions, SpooledMessage

RETRY_SECONDS = 600.0
"""How long a refused message waits before it is sent again."""


class SpooledMessages(Protocol):
    """What an outbox needs of a spool."""

    def messages(self, after: int, limit: int) -> list[SpooledMessage]:
        """Return the oldest messages whose id is greater than ``after``, in order."""


@dataclass(slots=True, eq=False)
class QueuedPayload:
    """What a program has put.

    Attributes:
        payload: A reading, or anything else.
        pack: It is a reading that may share a message with others; otherwise it is sent as it is.
        decided: Released when ``stored`` is known, for the thread that waits for that; None if no
            thread waits.
        stored: Whether it is on disk; None until that is decided.
    """

    payload: bytes
    pack: bool
    decided: "threading.Lock | None" = None
    stored: bool | None = None

    def decide(self, *, stored: bool) -> None:
        """Set ``stored``, and let the thread go on that waits for it."""
        self.stored = stored
        if self.decided is not None:
            self.decided.release()


@dataclass(frozen=True, slots=True)
class StoreStep:
    """What to store in one transaction.

    Attributes:
        entries: How many of the entries are in it.
        additions: What to add to the spool.
        packers: The packers after it, by topic.
    """

    entries: int
    additions: Additions
    packers: dict[str, Packer]


class Outbox:
    """Decides what to store and what to send next.

    Args:
        topic: Where new readings are published.
        max_linger_seconds: How long a reading waits for others to fill its message.
        step_bytes: How many bytes to store in one transaction, about.
        last_id: The id of the newest message that there ever was in the spool.
        readings: Topic and payload of readings that an earlier run left; they are packed at once.
        refused: Messages that were refused in an earlier run: ids to readings.
        now: The time, in seconds from any start.
    """

    def __init__(
        self,
        topic: str,
        *,
        max_linger_seconds: float,
        step_bytes: int,
        last_id: int,
        readings: Iterable[tuple[str, bytes]],
        refused: Mapping[int, int],
        now: float,
    ) -> None:
        self._topic = topic
        self._max_linger_seconds = max_linger_seconds
        self._step_bytes = step_bytes
        self._last_id = last_id
        self._packers = {topic: _packer(topic)}
        for other, payload in readings:
            self._packers.setdefault(other, _packer(other)).restore(payload)
        self._pack_at = now if self._waits() else math.inf
        self._cursor = 0  # messages up to this id were sent, or are refused
        self._in_flight: set[int] = set()
        self._one_by_one_until = 0  # messages up to this id are sent alone
        self._alone: int | None = None  # the message in flight, if it was sent alone
        self._refused: dict[int, int] = {}
        self._to_retry = dict(refused)
        self._retry_at = now + RETRY_SECONDS

    @property
    def in_flight(self) -> frozenset[int]:
        """The ids of messages that have no answer yet."""
        return frozenset(self._in_flight)

    @property
    def refused_readings(self) -> int:
        """How many readings are refused and wait for their next attempt."""
        return sum(self._refused.values())

    # What to store.

    def is_due(self, now: float) -> bool:
        """Return whether readings have waited long enough for others to fill their message."""
        return now >= self._pack_at

    def seconds_to_next(self, now: float, *, connected: bool) -> float:
        """Return the seconds until there is something to do, if nothing else happens."""
        at = math.inf
        if connected:
            at = min(self._pack_at, self._retry_at if self._refused else math.inf)
        return max(0.0, at - now)

    def next_step(self, entries: Sequence[QueuedPayload], *, flush: bool) -> StoreStep | None:
        """Return what to store next.

        Args:
            entries: What was put and is not stored yet.
            flush: Also pack readings that do not fill a message.

        Returns:
            The step, which need not hold all entries, or None if there is nothing to store. It
            takes effect with ``stored``.
        """
        packers = {topic: packer.copy() for topic, packer in self._packers.items()}
        own = packers[self._topic]
        known_bytes = own.size_bytes  # of readings that are on disk already
        messages: list[SpooledMessage] = []
        single: list[bytes] = []
        size = taken = 0

        def add(topic: str, payload: bytes, readings: int) -> None:
            nonlocal size
            number = self._last_id + 1 + len(messages)
            messages.append(SpooledMessage(number, topic, payload, readings))
            size += len(payload)

        for entry in entries:
            if size + own.size_bytes - known_bytes >= self._step_bytes:
                break
            taken += 1
            if not entry.pack:
                add(self._topic, entry.payload, 1)
                continue
            single.append(entry.payload)
            for packed in own.add(entry.payload):
                add(self._topic, packed.payload, packed.readings)
                known_bytes = 0
        if flush and taken == len(entries):
            for topic, packer in packers.items():
                for packed in packer.rest():
                    add(topic, packed.payload, packed.readings)
        if not messages and not single:
            return None
        return StoreStep(taken, self._additions(messages, single, packers), packers)

    def _additions(
        self, messages: list[SpooledMessage], single: list[bytes], packers: dict[str, Packer]
    ) -> Additions:
        """Separate the readings that were on disk already from the new ones."""
        packed = {}
        for topic, packer in packers.items():
            before = len(self._packers[topic])
            new = len(single) if topic == self._topic else 0
            if before and (gone := before + new - len(packer)) > 0:
                packed[topic] = min(gone, before)
        left = min(len(packers[self._topic]), len(single))
        waiting = single[len(single) - left :]
        return Additions(messages, [(self._topic, payload) for payload in waiting], packed)

    def stored(self, step: StoreStep, now: float) -> None:
        """Note that ``step`` is on disk."""
        self._packers = step.packers
        self._last_id += len(step.additions.messages)
        if not self._waits():
            self._pack_at = math.inf
        elif self._pack_at == math.inf:
            self._pack_at = now + self._max_linger_seconds

    def _waits(self) -> bool:
        return any(len(packer) > 0 for packer in self._packers.values())

    # What to send.

    def next_messages(self, spool: SpooledMessages, now: float) -> list[SpooledMessage]:
        """Return messages to send now, in order; none if answers must come first."""
        if now >= self._retry_at:
            self._retry_at = now + RETRY_SECONDS
            self._to_retry |= self._refused
            self._refused.clear()
        while (free := self._free()) > 0:
            found = spool.messages(self._cursor, free)
            if not found:
                break
            if new := [message for message in found if self._is_new(message.id)]:
                return new if new[0].id > self._one_by_one_until else new[:1]
            self._cursor = found[-1].id
        return [] if self._in_flight else self._next_retry(spool)

    def _free(self) -> int:
        """How many messages may be sent now."""
        if self._alone is not None or self._cursor < self._one_by_one_until:
            return 0 if self._in_flight else 1
        return mqtt.MAX_UNACKNOWLEDGED - len(self._in_flight)

    def _is_new(self, message_id: int) -> bool:
        return not (
            message_id in self._in_flight
            or message_id in self._refused
            or message_id in self._to_retry
        )

    def _next_retry(self, spool: SpooledMessages) -> list[SpooledMessage]:
        while self._to_retry:
            wanted = next(iter(self._to_retry))
            found = spool.messages(wanted - 1, 1)
            if found and found[0].id == wanted:
                return found
            del self._to_retry[wanted]
        return []

    def sent(self, message: SpooledMessage) -> None:
        """Note that ``message``, one of ``next_messages``, was handed to the connection."""
        is_retry = message.id in self._to_retry
        if is_retry or message.id <= self._one_by_one_until:
            self._alone = message.id
        if not is_retry:
            self._cursor = message.id
        self._in_flight.add(message.id)

    def answered(self, message: SpooledMessage, result: PublishResult) -> PublishResult:
        """Note what became of a message that was sent, and return how it counts."""
        self._in_flight.discard(message.id)
        was_alone = message.id == self._alone
        if was_alone:
            self._alone = None
        if result.hung_up and was_alone:
            result = PublishResult(PublishOutcome.REFUSED, "the broker ends the connection")
            # Such messages often follow each other: a group would only cost one more connection.
            self._one_by_one_until = max(self._one_by_one_until, message.id + 1)
        elif result.hung_up:
            self._one_by_one_until = max(self._one_by_one_until, message.id)
        if result.outcome is PublishOutcome.ACKNOWLEDGED:
            self._to_retry.pop(message.id, None)
        elif result.outcome is PublishOutcome.REFUSED:
            self._to_retry.pop(message.id, None)
            self._refused[message.id] = message.readings
        elif message.id not in self._to_retry:  # again, before what comes after it
            self._cursor = min(self._cursor, message.id - 1)
        return result

    def dropped(self, message_ids: Iterable[int]) -> None:
        """Note that messages were removed from the spool to make room."""
        for message_id in message_ids:
            self._refused.pop(message_id, None)
            self._to_retry.pop(message_id, None)


def _packer(topic: str) -> Packer:
    return Packer(prices.METERING_UNIT_BYTES - len(topic.encode()))
