"""The state of a pipeline at one moment. Pure: values only, no AWS."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Count:
    """A number of things.

    Attributes:
        at_least: Counting stopped at a limit, so there may be more.
    """

    value: int
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class HopObjects:
    """What is under a prefix of a bucket.

    Attributes:
        count: Objects of the last hour; under ``undelivered/`` and ``failed/`` all of them.
        newest: When the newest object that was seen was written; None if there is none.
    """

    count: Count
    newest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """The parser's queue, or its dead-letter queue.

    Attributes:
        events: Events that wait or are being processed now.
        oldest_seconds: Age of the oldest one; None without a metric.
    """

    events: int
    oldest_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ReadingCounts:
    """What the parser made of the last hour's objects.

    Attributes:
        parsed: Readings that fit the contract.
        rejected: Readings, and whole messages, that do not.
        source: ``metrics`` or ``log``.
        unknown_fields: Names of fields outside the contract.
    """

    parsed: Count
    rejected: Count
    source: str
    unknown_fields: tuple[str, ...] = ()

    @property
    def rejected_percent(self) -> float | None:
        """Share of the readings that were rejected; None if there were no readings."""
        total = self.parsed.value + self.rejected.value
        return 100 * self.rejected.value / total if total else None


@dataclass(frozen=True, slots=True)
class TopReason:
    """Why readings were rejected, and how many."""

    count: int
    reason: str
    path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel's pipeline, hop by hop.

    Attributes:
        name: The contract's name.
        missing: What is not as it was deployed; None if all is there. The fields that depend on it
            then have their defaults.
        handed_on: Messages that the topic rule handed to Firehose in the last hour; None without
            metrics.
        delivery_late_seconds: How much later than it may Firehose delivers; None if it does not,
            or without a metric.
        raw, parsed, rejected: The objects of each hop.
        late: Raw objects of the last hour that have waited for too long and have no output; None
            if that cannot be told.
        queue: The parser's queue.
        trigger: Identifies the mapping from the queue to the function.
        trigger_state: Of that mapping, such as Enabled.
        dead_letters: The dead-letter queue.
        newest_error: What the parser's log says of its last failure in the last hour.
        readings: None if nothing was parsed in the last hour.
        reasons: The most frequent reasons of rejections, from the newest rejected objects.
        reasons_sampled: Not all rejected objects of the last hour were read for them.
        undelivered, failed: What never reached ``raw/``.
    """

    name: str
    missing: str | None = None
    handed_on: Count | None = None
    delivery_late_seconds: float | None = None
    raw: HopObjects = HopObjects(Count(0))
    queue: Queue = Queue(0)
    trigger: str | None = None
    trigger_state: str | None = None
    late: Count | None = None
    newest_error: str | None = None
    dead_letters: Queue = Queue(0)
    parsed: HopObjects = HopObjects(Count(0))
    readings: ReadingCounts | None = None
    rejected: HopObjects = HopObjects(Count(0))
    reasons: tuple[TopReason, ...] = ()
    reasons_sampled: bool = False
    undelivered: HopObjects = HopObjects(Count(0))
    failed: HopObjects = HopObjects(Count(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """The last execution of the state machine that rebuilds history.

    Attributes:
        execution: Its ARN.
        status: As Step Functions names it, such as SUCCEEDED.
        ended: None while it runs.
        hours: Hours that it was to rebuild; None if it has no map run.
        hours_failed: Those that were not rebuilt.
        succeeded: When an execution last succeeded; None if none of the last ones has.
    """

    execution: str
    status: str
    started: datetime
    ended: datetime | None = None
    hours: int | None = None
    hours_failed: int = 0
    succeeded: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A CloudWatch alarm of the stack in state ALARM."""

    name: str
    meaning: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An environment's pipeline at one moment.

    Attributes:
        rebuild: None if history was never rebuilt.
        alarms: Those in ALARM.
    """

    environment: str
    taken_at: datetime
    channels: tuple[Channel, ...]
    rebuild: Rebuild | None = None
    alarms: tuple[Alarm, ...] = ()
