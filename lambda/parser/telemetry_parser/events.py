"""Take an SQS event of S3 notifications apart, and have each object parsed.

Knows neither boto3 nor Powertools: the object store and the report are handed in.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_plus

from telemetry_parser.parser import Parser, ParseResult
from telemetry_parser.raw import Readable


class EventError(ValueError):
    """A notification is not about a raw object of this channel; the message says why."""


class NotifiedObject(NamedTuple):
    """One raw object.

    Attributes:
        stem: What the keys of its outputs share with its own: between the first ``/`` and the
            extension.
    """

    bucket: str
    key: str
    stem: str


class Objects(Protocol):
    """Where objects are read and written; see ``objects.S3Objects``."""

    def open(self, bucket: str, key: str) -> AbstractContextManager[Readable]:
        """Stream an object."""

    def put(self, bucket: str, key: str, path: Path) -> None:
        """Write a file as an object, which is visible as a whole or not at all."""

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedObject:
    """One object that was parsed, its outputs, and how long it took.

    Attributes:
        raw_bucket: Where the raw object is.
        parquet_key: Of the parsed object; None if there were no rows.
        rejected_key: Of the rejected object; None if nothing was rejected.
        seconds: From opening the raw object to the last write.
        batch_age_seconds: From the first message's arrival to the last write; None if no
            message had a time of arrival.
    """

    result: ParseResult
    raw_bucket: str
    parquet_key: str | None
    rejected_key: str | None
    seconds: float
    batch_age_seconds: float | None


class Report(Protocol):
    """Receives reports of what happened; see ``report.PowertoolsReport``."""

    def parsed(self, parsed: ParsedObject) -> None:
        """An object's outputs are in place."""

    def failed(self, message_id: str, error: Exception) -> None:
        """An SQS message goes back to the queue."""

    def ignored(self, message_id: str, reason: str) -> None:
        """There is nothing to parse in an SQS message."""


class EventProcessor:
    """Parses every object that an SQS event names.

    Args:
        parsed_bucket: Name of the bucket for the outputs.
        clock: Seconds since the Unix epoch.
    """

    def __init__(
        self,
        *,
        parser: Parser,
        objects: Objects,
        parsed_bucket: str,
        report: Report,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._parser = parser
        self._objects = objects
        self._parsed_bucket = parsed_bucket
        self._report = report
        self._clock = clock
        self._raw_key = re.compile(
            rf"raw/({re.escape(parser.contract.channel)}/dt=\d{{4}}-\d\d-\d\d/hour=\d\d/[^/]+)"
            r"\.ndjson\.gz"
        )

    def process(self, event: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
        """Return which SQS messages are to be delivered again: SQS's partial batch response.

        A message that fails repeatedly ends in the dead-letter queue.
        See https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
        """
        failures = []
        for message in event["Records"]:
            message_id = message["messageId"]
            try:
                for raw_object in self._raw_objects(message_id, message["body"]):
                    self._report.parsed(self._parse(raw_object))
            except Exception as error:  # one object's fault is not the others'
                self._report.failed(message_id, error)
                failures.append({"itemIdentifier": message_id})
        return {"batchItemFailures": failures}

    def _raw_objects(self, message_id: str, body: str) -> list[NotifiedObject]:
        """Return each object of one S3 notification.

        Raises:
            EventError: It is not a notification, or not of a raw object of this channel.
        """
        try:
            notification = json.loads(body)
            if notification.get("Event") == "s3:TestEvent":
                self._report.ignored(message_id, "S3's test of the notification")
                return []
            found = [
                (
                    record["eventName"],
                    record["s3"]["bucket"]["name"],
                    unquote_plus(record["s3"]["object"]["key"]),
                )
                for record in notification["Records"]
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EventError("expected an S3 event notification in the message's body") from error
        if not found:
            raise EventError("expected an S3 event notification with a record, got none")
        return [self._raw_object(*record) for record in found]

    def _raw_object(self, event_name: str, bucket: str, key: str) -> NotifiedObject:
        if not event_name.startswith("ObjectCreated:"):
            raise EventError(f"expected an ObjectCreated event, got {event_name!r}")
        match = self._raw_key.fullmatch(key)
        if match is None:
            raise EventError(
                f"expected a key of the form raw/{self._parser.contract.channel}/"
                f"dt=yyyy-MM-dd/hour=HH/NAME.ndjson.gz, got {key!r}"
            )
        return NotifiedObject(bucket, key, match[1])

    def _parse(self, raw_object: NotifiedObject) -> ParsedObject:
        started = self._clock()
        bucket, key, stem = raw_object
        parquet_key = f"parsed/{stem}.parquet"
        rejected_key = f"rejected/{stem}.ndjson.gz"
        with TemporaryDirectory() as folder, self._objects.open(bucket, key) as raw:
            parquet_path, rejected_path = Path(folder, "parquet"), Path(folder, "rejected")
            result = self._parser.parse(
                raw, raw_key=key, parquet_path=parquet_path, rejected_path=rejected_path
            )
            written = {
                object_key: path
                for object_key, path in ((parquet_key, parquet_path), (rejected_key, rejected_path))
                if path.exists()
            }
            for object_key, path in written.items():
                self._objects.put(self._parsed_bucket, object_key, path)
        # Remove what an earlier run wrote, perhaps with another contract, and this one does not.
        # This comes last, so that every message is in one of the two objects at any time.
        for object_key in {parquet_key, rejected_key} - written.keys():
            self._objects.remove(self._parsed_bucket, object_key)
        ended = self._clock()
        oldest = result.oldest_received_at
        return ParsedObject(
            result=result,
            raw_bucket=bucket,
            parquet_key=parquet_key if parquet_key in written else None,
            rejected_key=rejected_key if rejected_key in written else None,
            seconds=ended - started,
            batch_age_seconds=None if oldest is None else ended - oldest / 1000,
        )
