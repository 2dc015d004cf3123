"""Firehose's stand-in: deliver what the rules put into the buffers, as Data Firehose would.

The emulator neither runs a topic rule's Firehose action nor buffers what is put into a stream. So
``local.emulator_process`` appends each record to a buffer on disk, and this process delivers it
by the deployed stream's buffering hints, into gzip objects with its prefix and its names. A batch
leaves the disk only when its object is in the bucket.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

import contracts
from contracts import names
from device.aws import session_for
from local.firehose_buffer import Batch, Buffer
from local.state import BUFFERS, ENVIRONMENT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOG = logging.getLogger("firehose")

_POLL_SECONDS = 0.1
_RETRY_SECONDS = 1
# A redeployment or a person may change the rule and the stream; this is how soon it is noticed.
_DESCRIBE_SECONDS = 2
# The credentials last an hour.
_ASSUME_SECONDS = 1800

_TIMESTAMP = re.compile(r"!\{timestamp:([^}]+)\}")
_STRFTIME = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H"}


@dataclass(frozen=True, slots=True)
class Stream:
    """One deployed delivery stream and the rule that feeds it, as AWS's APIs describe them.

    Attributes:
        rule_name: Name of the topic rule.
        name: Name of the delivery stream.
        role_arn: ARN of the role with which the delivery stream writes.
        version: Version of the delivery stream; part of object names.
        bucket: Name of the bucket of the batches.
        prefix: Firehose's expression, ``!{timestamp:…}`` in it.
        extension: End of object names.
        separator: The rule's Firehose action appends it to each record.
        interval_seconds: A batch is closed this long after its first record.
        size_bytes: A batch is closed at this size, before compression.
        error_bucket: Name of the bucket of the rule's error action.
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

    def object_key(self, batch: Batch) -> str:
        """The key of a batch's object: under its oldest record's hour, the same each time."""
        prefix = _TIMESTAMP.sub(
            lambda match: batch.oldest.strftime(_strftime(match[1])), self.prefix
        )
        return f"{prefix}{self.name}-{self.version}-{batch.name}{self.extension}"

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


class ChannelDelivery(threading.Thread):
    """Carries one channel's records from its rule's buffer to the raw bucket."""

    def __init__(self, channel: str) -> None:
        super().__init__(name=channel, daemon=True)
        environment = session_for(ENVIRONMENT)
        session = environment.session
        self._session, self._account = session, environment.account
        self._iot = session.client("iot")
        self._s3 = session.client("s3")
        self._sts = session.client("sts")
        self._firehose = session.client("firehose")
        self._buffer = Buffer(BUFFERS, names.rule_name(ENVIRONMENT, channel))
        self._role: tuple[str, float, S3Client] | None = None

    def run(self) -> NoReturn:
        """Deliver what is due; log errors of the APIs, and try again next time."""
        while True:
            try:
                if not self._buffer.is_empty():
                    self._deliver_due(self._stream())
            except (BotoCoreError, ClientError) as error:
                _LOG.warning("%s: %s; trying again", self.name, error)
                time.sleep(_RETRY_SECONDS)
            # A person has changed the rule, and may change it back.
            except (LookupError, StopIteration) as error:
                _LOG.warning("%s: not as it was deployed: %r; trying again", self.name, error)
                time.sleep(_RETRY_SECONDS)
            time.sleep(_POLL_SECONDS)

    def _deliver_due(self, stream: Stream) -> None:
        until = time.monotonic() + _DESCRIBE_SECONDS
        while not self._buffer.is_empty() and time.monotonic() < until:
            if self._buffer.is_due(stream.interval_seconds, stream.size_bytes):
                self._buffer.close()
            for batch in self._buffer.batches():
                self._deliver(stream, batch)
            time.sleep(_POLL_SECONDS)

    def _stream(self) -> Stream:
        """Read what is deployed now."""
        rule: Any = self._iot.get_topic_rule(ruleName=self._buffer.rule_name)["rule"]
        action = next(action["firehose"] for action in rule["actions"] if "firehose" in action)
        description = self._firehose.describe_delivery_stream(
            DeliveryStreamName=action["deliveryStreamName"]
        )["DeliveryStreamDescription"]
        destination = description["Destinations"][0]["ExtendedS3DestinationDescription"]
        hints = destination["BufferingHints"]
        error_action = rule["errorAction"]["s3"]
        return Stream(
            rule_name=self._buffer.rule_name,
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

    def _as_firehose(self, role_arn: str) -> "S3Client":
        """Assume the stream's role as Firehose does: with the account as external id."""
        now = time.monotonic()
        if self._role is None or self._role[0] != role_arn or now > self._role[1]:
            credentials = self._sts.assume_role(
                RoleArn=role_arn, RoleSessionName="firehose", ExternalId=self._account
            )["Credentials"]
            client = self._session.client(
                "s3",
                aws_access_key_id=credentials["AccessKeyId"],
                aws_secret_access_key=credentials["SecretAccessKey"],
                aws_session_token=credentials["SessionToken"],
            )
            self._role = role_arn, now + _ASSUME_SECONDS, client
        return self._role[2]

    def _deliver(self, stream: Stream, batch: Batch) -> None:
        raw = self._as_firehose(stream.role_arn)
        key = stream.object_key(batch)
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
        batch.path.unlink()


def main() -> None:
    """Carry every channel's messages until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for channel in contracts.channels():
        ChannelDelivery(channel).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
