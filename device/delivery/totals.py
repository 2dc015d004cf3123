"""Count what became of the readings that a sink took."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from device.delivery import prices
from device.delivery.mqtt import PublishOutcome, PublishResult
from device.delivery.spool import SpooledMessage


@dataclass(slots=True)
class Totals:
    """What became of everything so far, counted in readings unless it says otherwise.

    Attributes:
        taken: Put, and on disk.
        earlier: In the spool when it was opened, from an earlier run.
        published: Sent at least once: acknowledged, refused, unknown, or dropped after that.
        acknowledged: The broker has them; they left the spool.
        refused: The broker refused them the last time; they stay in the spool.
        unknown: No answer yet; they stay in the spool.
        dropped: Removed without an acknowledgement: the oldest of a full spool, or refused for
            longer than ``device.delivery.worker.REFUSED_KEPT_SECONDS``.
        spooled: In the spool now.
        messages: Messages that were acknowledged.
        units: Metering units of these (see ``device.delivery.prices``).
        cost_usd: What these cost up to the raw bucket.
        cost_unpacked_usd: What their readings would have cost as one message per reading.
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


class Tally:
    """Keeps the totals up to date.

    Args:
        earlier: Readings in the spool when it was opened.
        dropped: Readings removed from it then.
    """

    def __init__(self, *, earlier: int, dropped: int) -> None:
        self._totals = Totals(earlier=earlier, spooled=earlier, dropped=dropped)
        # Messages that were sent at least once, by what came back: ids to readings.
        self._unanswered: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self._reasons: Counter[str] = Counter()

    @property
    def spooled(self) -> int:
        """Readings in the spool now."""
        return self._totals.spooled

    @property
    def acknowledged_messages(self) -> int:
        """Messages that were acknowledged."""
        return self._totals.messages

    def totals(self) -> Totals:
        """Return a copy of the totals."""
        return replace(
            self._totals,
            unknown=sum(self._unanswered.values()),
            refused=sum(self._refused.values()),
        )

    def reasons(self) -> Counter[str]:
        """Return why readings were refused or stayed without an answer, with how many."""
        return Counter(self._reasons)

    def taken(self, readings: int) -> None:
        """Count readings that are on disk now."""
        self._totals.taken += readings
        self._totals.spooled += readings

    def sent(self, message: SpooledMessage) -> None:
        """Count a message that was handed to the connection."""
        if message.id not in self._unanswered and message.id not in self._refused:
            self._totals.published += message.readings
            self._unanswered[message.id] = message.readings

    def answered(self, message: SpooledMessage, result: PublishResult) -> None:
        """Count what became of a message that was sent."""
        if result.reason:
            self._reasons[f"{result.outcome.value}: {result.reason}"] += message.readings
        if result.outcome is PublishOutcome.REFUSED:
            self._unanswered.pop(message.id, None)
            self._refused[message.id] = message.readings
        elif result.outcome is PublishOutcome.ACKNOWLEDGED:
            self._forget(message.id)
            totals, size = self._totals, len(message.payload)
            totals.acknowledged += message.readings
            totals.spooled -= message.readings
            totals.messages += 1
            totals.units += prices.units(message.topic, size)
            totals.cost_usd += prices.message_usd(message.topic, size)
            # A lower bound: a single reading of more than 5 KB would cost more.
            totals.cost_unpacked_usd += max(
                prices.message_usd(message.topic, size),
                message.readings * prices.message_usd(message.topic, 1),
            )

    def dropped(self, messages: Mapping[int, int]) -> None:
        """Count messages that were removed to make room: ids to readings."""
        for message_id, readings in messages.items():
            self._forget(message_id)
            self._totals.dropped += readings
            self._totals.spooled -= readings

    def _forget(self, message_id: int) -> None:
        self._unanswered.pop(message_id, None)
        self._refused.pop(message_id, None)
