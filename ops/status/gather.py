"""Gather the state of a pipeline from AWS: bounded work, whatever the bucket holds.

Metrics where they exist; otherwise queues, mappings, objects, logs and map runs.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from contracts import names
from device.aws import AwsEnvironment, stack_outputs
from ops import parser_log, raw_objects
from ops.doctor import metrics
from ops.doctor.deployed import Deployed
from ops.doctor.findings import Skipped
from ops.parser_log import Parsed
from ops.raw_objects import DamagedObject, RawObject
from ops.status import buckets
from ops.status.buckets import Found, Listing
from ops.status.model import (
    Alarm,
    Channel,
    Count,
    HopObjects,
    Queue,
    ReadingCounts,
    Snapshot,
    TopReason,
)
from ops.status.rebuilds import last_rebuild

_T = TypeVar("_T")

_HOUR = timedelta(hours=1)
_RECENTLY = timedelta(minutes=10)  # the state of now, not the worst of the hour
_LATE = timedelta(seconds=metrics.LATE_SECONDS)
_MOST_LOG_LINES = 5000
_MOST_ERRORS = 100
# The reasons come from so many of the newest rejected objects, and so many lines of each.
_MOST_REJECTED_OBJECTS = 5
_MOST_REJECTED_LINES = 10_000
_MOST_REASONS = 3
# How AWS answers about a rule that does not exist.
_NO_RULE = {"ResourceNotFoundException", "UnauthorizedException"}
_NO_LOG = "ResourceNotFoundException"


def snapshot(opened: AwsEnvironment, channels: Sequence[str], now: datetime) -> Snapshot:
    """Gather the state of ``channels`` and of what they share."""
    client = cache(opened.client)
    outputs = stack_outputs(client("cloudformation"), opened.name)
    return Snapshot(
        environment=opened.name,
        taken_at=now,
        channels=tuple(_Channel(client, opened, channel, now).state() for channel in channels),
        rebuild=last_rebuild(client("stepfunctions"), outputs.get("HistoryStateMachine")),
        alarms=tuple(_alarms(client("cloudwatch"), opened.name)),
    )


def _alarms(cloudwatch: Any, environment: str) -> Iterator[Alarm]:
    # CloudFormation begins the names with the stack's name.
    prefix = f"{names.stack_name(environment)}-"
    for found in cloudwatch.describe_alarms(
        AlarmNamePrefix=prefix, StateValue="ALARM", AlarmTypes=["MetricAlarm"]
    )["MetricAlarms"]:
        yield Alarm(
            found["AlarmName"],
            " ".join(found.get("AlarmDescription", "no description").split()),
            found["StateUpdatedTimestamp"],
        )


class _Channel:
    """Gathers the state of one channel; ``client`` makes clients, as ``metrics.Clients`` asks."""

    def __init__(
        self,
        client: Callable[[str], Any],
        opened: AwsEnvironment,
        channel: str,
        now: datetime,
    ) -> None:
        self.client = client
        self._name = channel
        self._now = now
        self._deployed = Deployed(client, opened.name, channel)
        self._rule = names.rule_name(opened.name, channel)
        self._service = {"service": f"parser-{channel}"}
        self._namespace = names.stack_name(opened.name)

    def state(self) -> Channel:
        """The state of all hops."""
        raw_bucket, parsed_bucket = self._deployed.raw_bucket, self._deployed.parsed_bucket
        listing = {
            hop: buckets.recent(self.client("s3"), bucket, f"{hop}/{self._name}/", self._now)
            for hop, bucket in (
                ("raw", raw_bucket),
                ("parsed", parsed_bucket),
                ("rejected", parsed_bucket),
            )
        }
        log = self._log()
        reasons, sampled = self._reasons(listing["rejected"])
        trigger = _or_none(lambda: self._deployed.trigger) or {}
        return Channel(
            name=self._name,
            missing=self._missing(),
            handed_on=self._handed_on(),
            delivery_late_seconds=self._delivery_late_seconds(),
            raw=self._objects(listing["raw"]),
            queue=self._queue(lambda: self._deployed.queue_arn),
            trigger=trigger.get("UUID"),
            trigger_state=trigger.get("State"),
            late=self._late(listing, log),
            newest_error=self._newest_error(),
            dead_letters=self._queue(lambda: self._deployed.dead_letter_arn),
            parsed=self._objects(listing["parsed"]),
            readings=self._readings(log),
            rejected=self._objects(listing["rejected"]),
            reasons=reasons,
            reasons_sampled=sampled,
            undelivered=self._pending([f"undelivered/{self._name}/"]),
            failed=self._pending(
                f"{kind}{self._name}/"
                for kind in buckets.folders(self.client("s3"), raw_bucket, "failed/")
            ),
        )

    def _missing(self) -> str | None:
        """The first part that is not as it was deployed."""
        try:
            if self._deployed.rule.get("ruleDisabled"):
                return f"the topic rule {self._rule} is disabled"
            for part in ("stream", "function"):
                getattr(self._deployed, part)
            if self._deployed.dead_letter_arn is None:
                return "the parser's queue has no dead-letter queue"
        except Skipped as missing:
            return str(missing)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_RULE:
                return f"{error.operation_name} finds nothing; is the topic rule {self._rule} there"
            raise
        return None

    def _metric(
        self, namespace: str, name: str, dimensions: dict[str, str], statistic: str = "Sum"
    ) -> float | None:
        span = _RECENTLY if statistic == "Maximum" else _HOUR
        return _or_none(
            lambda: metrics.last_hour(self, namespace, name, dimensions, statistic, span=span)
        )

    def _handed_on(self) -> Count | None:
        dimensions = {"RuleName": self._rule, "ActionType": "Firehose"}
        value = self._metric("AWS/IoT", "Success", dimensions)
        return None if value is None else Count(round(value))

    def _delivery_late_seconds(self) -> float | None:
        stream = _or_none(lambda: self._deployed.stream)
        if stream is None:
            return None
        dimensions = {"DeliveryStreamName": stream["DeliveryStreamName"]}
        age = self._metric("AWS/Firehose", "DeliveryToS3.DataFreshness", dimensions, "Maximum")
        allowed = self._deployed.buffering_interval_seconds + metrics.LATE_SECONDS
        return None if age is None or age <= allowed else age - allowed

    def _queue(self, arn_of: Callable[[], str | None]) -> Queue:
        arn = _or_none(arn_of)
        if arn is None:
            return Queue(0)
        events = self._deployed.events_in(arn)
        dimensions = {"QueueName": arn.rpartition(":")[2]}
        age = self._metric("AWS/SQS", "ApproximateAgeOfOldestMessage", dimensions, "Maximum")
        return Queue(events, age if events else None)

    def _objects(self, listing: Listing) -> HopObjects:
        newest = max((found.written_at for found in listing.objects), default=None)
        since = self._now - _HOUR
        value = sum(found.written_at >= since for found in listing.objects)
        return HopObjects(Count(value, listing.capped), newest)

    def _pending(self, prefixes: Iterator[str] | list[str]) -> HopObjects:
        found, capped = [], False
        for prefix in prefixes:
            listing = buckets.first(self.client("s3"), self._deployed.raw_bucket, prefix)
            found += [each.written_at for each in listing.objects]
            capped |= listing.capped
        return HopObjects(Count(len(found), capped), max(found, default=None))

    def _log(self) -> Parsed:
        """What the log of the last hour says about parsed objects."""
        function = _or_none(lambda: self._deployed.function)
        if function is None:
            return Parsed()
        with _log_may_be_missing():
            return parser_log.parsed(
                self.client("logs"), function, self._now - _HOUR, _MOST_LOG_LINES
            )
        return Parsed()

    def _newest_error(self) -> str | None:
        function = _or_none(lambda: self._deployed.function)
        if function is None:
            return None
        with _log_may_be_missing():
            errors = parser_log.errors(
                self.client("logs"), function, self._now - _HOUR, most=_MOST_ERRORS
            )
            newest = max(errors, key=lambda each: each.time, default=None)
            return None if newest is None else newest.text
        return None

    def _late(self, listing: dict[str, Listing], log: Parsed) -> Count | None:
        """Raw objects without output. The log tells which have none because they were blank."""
        if any(each.capped for each in listing.values()) or log.capped:
            return None
        outputs = (*listing["parsed"].objects, *listing["rejected"].objects)
        done = {_stem(found.key) for found in outputs}
        done |= {_stem(str(line.get("raw_key"))) for line in log.lines}
        earliest, latest = self._now - _HOUR, self._now - _LATE
        late = [
            found
            for found in listing["raw"].objects
            if earliest <= found.written_at < latest and _stem(found.key) not in done
        ]
        return Count(len(late))

    def _readings(self, log: Parsed) -> ReadingCounts | None:
        unknown = {str(name) for line in log.lines for name in line.get("unknown_fields") or ()}
        fields = tuple(sorted(unknown))
        counts = [
            self._metric(self._namespace, name, self._service)
            for name in ("ReadingsParsed", "ReadingsRejected")
        ]
        if counts[0] is not None:
            parsed, rejected = (Count(round(value or 0)) for value in counts)
            return ReadingCounts(parsed, rejected, "metrics", fields)
        if not log.lines:
            return None
        parsed, rejected = (
            Count(sum(_number(line.get(name)) for line in log.lines), log.capped)
            for name in ("readings_parsed", "readings_rejected")
        )
        return ReadingCounts(parsed, rejected, "log", fields)

    def _reasons(self, rejected: Listing) -> tuple[tuple[TopReason, ...], bool]:
        since = self._now - _HOUR
        found = sorted(
            (each for each in rejected.objects if each.written_at >= since),
            key=lambda each: each.written_at,
        )
        sampled = rejected.capped or len(found) > _MOST_REJECTED_OBJECTS
        counts: Counter[tuple[str, str | None]] = Counter()
        for each in found[-_MOST_REJECTED_OBJECTS:]:
            sampled |= self._count_reasons(each, counts)
        reasons = (
            TopReason(count, reason, path)
            for (reason, path), count in counts.most_common(_MOST_REASONS)
        )
        return tuple(reasons), sampled

    def _count_reasons(self, found: Found, counts: Counter[tuple[str, str | None]]) -> bool:
        """Count the reasons in one object; return whether not all of it was read."""
        rejected = RawObject(self._deployed.parsed_bucket, found.key, found.size)
        try:
            content = raw_objects.opened(self.client("s3"), rejected)
            for number, line in enumerate(raw_objects.lines(content)):
                if number == _MOST_REJECTED_LINES:
                    return True
                with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                    document = json.loads(line)
                    path = document["path"]
                    counts[str(document["reason"]), None if path is None else str(path)] += 1
        except DamagedObject:
            return True
        except ClientError as error:  # parsed again meanwhile, with nothing to reject
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
        return False


def _or_none(read: Callable[[], _T]) -> _T | None:
    """What ``read`` returns; None if that part or that metric does not exist."""
    try:
        return read()
    except Skipped:
        return None
    except ClientError as error:
        if error.response["Error"]["Code"] in _NO_RULE and "Rule" in error.operation_name:
            return None
        raise


@contextlib.contextmanager
def _log_may_be_missing() -> Iterator[None]:
    """Skip the rest if there is no log, as the function has never run."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != _NO_LOG:
            raise


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _stem(key: str) -> str:
    """What a raw object's key and those of its outputs share."""
    name = key.partition("/")[2]
    return name.removesuffix(".parquet").removesuffix(".ndjson.gz")
