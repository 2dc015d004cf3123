"""A stand-in for the one hop that the emulator lacks: a topic rule's Firehose action.

The emulator neither runs that action nor buffers what is put into a stream. So each deployed
rule gets an SQS action beside its own, and this process batches what arrives in the queue as
Firehose would: by the deployed stream's hints, into gzip objects with its prefix and its names,
at least once. A message leaves the queue only when its batch is in the bucket.

Batches are written with the deployed stream's own role, so that its permissions count. One thing
differs from AWS: a bucket that refuses a batch makes Firehose retry for a day and then write to
``failed/``; here the rule's error action takes its messages at once.
"""

import gzip
import json
import logging
import re
import signal
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

import contracts
from contracts import names
from device.aws import session_for
from local.state import ENVIRONMENT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs.type_defs import MessageTypeDef

_LOG = logging.getLogger("firehose")

# A redeployment puts the rule back; this is how soon it is noticed.
_ATTACH_SECONDS = 2
_RETRY_SECONDS = 1
# The credentials last an hour.
_ASSUME_SECONDS = 1800

_TIMESTAMP = re.compile(r"!\{timestamp:([^}]+)\}")
_STRFTIME = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H"}


@dataclass(frozen=True, slots=True)
class Stream:
    """One deployed delivery stream and the rule that feeds it, as AWS's APIs describe them.

    Attributes:
        rule_name: Of the topic rule.
        name: Of the delivery stream.
        role_arn: With which the delivery stream writes.
        version: Of the delivery stream; part of object names.
        bucket: Where batches go.
        prefix: Firehose's expression, ``!{timestamp:…}`` in it.
        extension: Of object names.
        separator: The rule's Firehose action appends it to each record.
        interval_seconds: A batch is closed this long after its first record.
        size_bytes: A batch is closed at this size, before compression.
        error_bucket: Of the rule's error action.
        error_key: The error action's key, ``${…}`` in it.
    """

    rule_name: str
    name: str
    role_arn: str
    version: str
    bucket: str
    prefix: str
    extension: str
    separator: str
    interval_seconds: float
    size_bytes: int
    error_bucket: str
    error_key: str

    def object_key(self, oldest: datetime, closed: datetime) -> str:
        """Name a batch by its oldest record's arrival and the time it is closed, both UTC."""
        moment = closed.strftime("%Y-%m-%d-%H-%M-%S")
        prefix = _TIMESTAMP.sub(lambda match: oldest.strftime(_strftime(match[1])), self.prefix)
        return f"{prefix}{self.name}-{self.version}-{moment}-{uuid.uuid4()}{self.extension}"

    def error_object_key(self, moment: datetime) -> str:
        """Evaluate the error action's key: the two expressions that our rules use."""
        key = re.sub(
            r'\$\{parse_time\("yyyy-MM-dd", timestamp\(\), "UTC"\)\}',
            moment.strftime("%Y-%m-%d"),
            self.error_key,
        )
        return key.replace("${newuuid()}", str(uuid.uuid4()))

    def error_document(self, record: str, error: str) -> bytes:
        """What AWS IoT's error action would write for ``record``.

        See https://docs.aws.amazon.com/iot/latest/developerguide/rule-error-handling.html
        """
        envelope = json.loads(record)
        return json.dumps(
            {
                "ruleName": self.rule_name,
                "topic": envelope.get("topic"),
                "cloudwatchTraceId": envelope.get("trace_id"),
                "clientId": envelope.get("client_id"),
                "base64OriginalPayload": envelope.get("payload"),
                "failures": [
                    {
                        "failedAction": "FirehoseAction",
                        "failedResource": self.name,
                        "errorMessage": error,
                    }
                ],
            }
        ).encode()


def _strftime(pattern: str) -> str:
    for theirs, ours in _STRFTIME.items():
        pattern = pattern.replace(theirs, ours)
    return pattern


_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class Batch:
    """Records that wait for one of a stream's hints.

    Attributes:
        records: Without separator, in order of arrival.
        receipts: What deletes each from the queue.
        size_bytes: Of the records, separators included.
        opened: ``time.monotonic()`` of the first record.
        oldest: Arrival of the oldest record, UTC.
    """

    records: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    size_bytes: int = 0
    opened: float = 0.0
    oldest: datetime = _NEVER

    def add(self, record: str, receipt: str, arrived: datetime, now: float) -> None:
        """Take one record into the batch."""
        if not self.records:
            self.opened = now
        self.records.append(record)
        self.receipts.append(receipt)
        self.size_bytes += len(record.encode()) + 1
        self.oldest = min(self.oldest, arrived)

    def is_due(self, stream: Stream, now: float) -> bool:
        """Whether one of the hints is reached."""
        return bool(self.records) and (
            now - self.opened >= stream.interval_seconds or self.size_bytes >= stream.size_bytes
        )


class Delivery(threading.Thread):
    """Carries one channel's messages from its rule to the raw bucket, for ever."""

    def __init__(self, channel: str) -> None:
        super().__init__(name=channel, daemon=True)
        environment = session_for(ENVIRONMENT)
        session = environment.session
        self._session, self._account = session, environment.account
        self._iot = session.client("iot")
        self._sqs = session.client("sqs")
        self._s3 = session.client("s3")
        self._sts = session.client("sts")
        self._firehose = session.client("firehose")
        self._rule_name = names.rule_name(ENVIRONMENT, channel)
        self._queue_name = f"local-firehose-{channel}"

    def run(self) -> NoReturn:
        """Batch and deliver; survive whatever the APIs answer."""
        attached = assumed = float("-inf")
        batch = Batch()
        while True:
            try:
                if time.monotonic() - attached >= _ATTACH_SECONDS:
                    stream, queue_url = self._attach()
                    attached = time.monotonic()
                if time.monotonic() - assumed >= _ASSUME_SECONDS:
                    raw = self._as_firehose(stream.role_arn)
                    assumed = time.monotonic()
                self._receive(queue_url, batch)
                if batch.is_due(stream, time.monotonic()):
                    self._deliver(stream, raw, queue_url, batch)
                    batch = Batch()
            except (BotoCoreError, ClientError) as error:
                _LOG.warning("%s: %s; trying again", self.name, error)
                time.sleep(_RETRY_SECONDS)
            # Someone has changed the rule by hand, and may change it back.
            except (LookupError, StopIteration) as error:
                _LOG.warning("%s: not as it was deployed: %r; trying again", self.name, error)
                time.sleep(_RETRY_SECONDS)

    def _attach(self) -> tuple[Stream, str]:
        """See that the rule also feeds our queue; read what is deployed."""
        rule = self._iot.get_topic_rule(ruleName=self._rule_name)["rule"]
        action = next(action["firehose"] for action in rule["actions"] if "firehose" in action)
        stream = self._describe(rule, action)
        queue_url = self._queue_url(action["roleArn"], stream.interval_seconds)
        if not any(
            action.get("sqs", {}).get("queueUrl") == queue_url for action in rule["actions"]
        ):
            sqs_action = {
                "sqs": {"roleArn": action["roleArn"], "queueUrl": queue_url, "useBase64": False}
            }
            payload: Any = {
                "sql": rule["sql"],
                "description": rule.get("description", ""),
                "awsIotSqlVersion": rule["awsIotSqlVersion"],
                "ruleDisabled": rule["ruleDisabled"],
                "actions": [*rule["actions"], sqs_action],
                "errorAction": rule["errorAction"],
            }
            self._iot.replace_topic_rule(ruleName=self._rule_name, topicRulePayload=payload)
            _LOG.info("%s: attached to rule %s", self.name, self._rule_name)
        return stream, queue_url

    def _describe(self, rule: Any, action: Any) -> Stream:
        description = self._firehose.describe_delivery_stream(
            DeliveryStreamName=action["deliveryStreamName"]
        )["DeliveryStreamDescription"]
        destination = description["Destinations"][0]["ExtendedS3DestinationDescription"]
        hints = destination["BufferingHints"]
        error_action = rule["errorAction"]["s3"]
        return Stream(
            rule_name=self._rule_name,
            name=description["DeliveryStreamName"],
            role_arn=destination["RoleARN"],
            version=description["VersionId"],
            bucket=destination["BucketARN"].rpartition(":")[2],
            prefix=destination["Prefix"],
            # The emulator does not tell the one that was deployed.
            extension=destination.get("FileExtension", ".ndjson.gz"),
            separator=action.get("separator", ""),
            interval_seconds=hints["IntervalInSeconds"],
            size_bytes=hints["SizeInMBs"] * 2**20,
            error_bucket=error_action["bucketName"],
            error_key=error_action["key"],
        )

    def _queue_url(self, role_arn: str, interval_seconds: float) -> str:
        # Idempotent. Messages of a batch stay invisible while it is open and being written.
        queue_url = self._sqs.create_queue(
            QueueName=self._queue_name,
            Attributes={"VisibilityTimeout": str(int(interval_seconds) + 60)},
        )["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": role_arn},
            "Action": "sqs:SendMessage",
            "Resource": arn["Attributes"]["QueueArn"],
        }
        self._sqs.set_queue_attributes(
            QueueUrl=queue_url,
            Attributes={
                "Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
            },
        )
        return queue_url

    def _receive(self, queue_url: str, batch: Batch) -> None:
        messages = self._sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])
        for message in messages:
            batch.add(
                message["Body"], message["ReceiptHandle"], _arrival(message), time.monotonic()
            )

    def _as_firehose(self, role_arn: str) -> "S3Client":
        """Assume the stream's role as Firehose does: with the account as external id."""
        credentials = self._sts.assume_role(
            RoleArn=role_arn, RoleSessionName="firehose", ExternalId=self._account
        )["Credentials"]
        return self._session.client(
            "s3",
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )

    def _deliver(self, stream: Stream, raw: "S3Client", queue_url: str, batch: Batch) -> None:
        key = stream.object_key(batch.oldest, datetime.now(UTC))
        body = gzip.compress(
            "".join(record + stream.separator for record in batch.records).encode()
        )
        try:
            raw.put_object(Bucket=stream.bucket, Key=key, Body=body)
            _LOG.info("%s: %d records to %s", self.name, len(batch.records), key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise
            _LOG.error("%s: the bucket refused a batch: %s", self.name, error)
            for record in batch.records:
                self._s3.put_object(
                    Bucket=stream.error_bucket,
                    Key=stream.error_object_key(datetime.now(UTC)),
                    Body=stream.error_document(record, str(error)),
                )
        for start in range(0, len(batch.receipts), 10):
            receipts = batch.receipts[start : start + 10]
            self._sqs.delete_message_batch(
                QueueUrl=queue_url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": receipt}
                    for index, receipt in enumerate(receipts)
                ],
            )


def _arrival(message: "MessageTypeDef") -> datetime:
    return datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)


def main() -> None:
    """Carry every channel's messages until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for channel in contracts.channels():
        Delivery(channel).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
