"""Read what is deployed, each part once.

Each part is found through the one before it, on the way that a message takes: the rule names the
stream, the stream names the bucket, the bucket names the queue, and the queue names the function.
"""

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from contracts import names
from device import aws
from ops.doctor.findings import Skipped

_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Deployed:
    """The parts of one channel's pipeline.

    Args:
        client: Makes the AWS client of a service.
        environment_name: The environment's name in ``cdk.json``.
        channel: Name of the contract.
    """

    def __init__(self, client: Callable[[str], Any], environment_name: str, channel: str) -> None:
        self._client = client
        self._environment_name = environment_name
        self._channel = channel

    @cached_property
    def rule(self) -> dict[str, Any]:
        """The topic rule of the channel."""
        name = names.rule_name(self._environment_name, self._channel)
        rule: dict[str, Any] = self._client("iot").get_topic_rule(ruleName=name)["rule"]
        return rule

    @cached_property
    def stream(self) -> dict[str, Any]:
        """The delivery stream that the rule feeds."""
        actions = [action["firehose"] for action in self.rule["actions"] if "firehose" in action]
        if not actions:
            raise Skipped("the rule has no Firehose action")
        stream: dict[str, Any] = self._client("firehose").describe_delivery_stream(
            DeliveryStreamName=actions[0]["deliveryStreamName"]
        )["DeliveryStreamDescription"]
        return stream

    @property
    def destination(self) -> dict[str, Any]:
        """The S3 destination of the stream."""
        destination: dict[str, Any] = self.stream["Destinations"][0][
            "ExtendedS3DestinationDescription"
        ]
        return destination

    @property
    def buffering_interval_seconds(self) -> int:
        """How long the stream collects a batch."""
        return int(self.destination["BufferingHints"]["IntervalInSeconds"])

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack."""
        return aws.stack_outputs(self._client("cloudformation"), self._environment_name)

    @property
    def raw_bucket(self) -> str:
        """Name of the bucket that the stream must write to."""
        return self.outputs["RawBucket"]

    @property
    def parsed_bucket(self) -> str:
        """Name of the bucket that the function must write to."""
        return self.outputs["ParsedBucket"]

    @cached_property
    def queue_arn(self) -> str | None:
        """ARN of the queue that the bucket notifies of raw objects; None if there is none."""
        found = self._client("s3").get_bucket_notification_configuration(Bucket=self.raw_bucket)
        example = f"raw/{self._channel}/dt=2000-01-01/hour=00/object.ndjson.gz"
        for configuration in found.get("QueueConfigurations", []):
            rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            matches = {"prefix": example.startswith, "suffix": example.endswith}
            if all(matches[rule["Name"].lower()](rule["Value"]) for rule in rules) and any(
                event in {"s3:ObjectCreated:*", "s3:ObjectCreated:Put"}
                for event in configuration["Events"]
            ):
                return str(configuration["QueueArn"])
        return None

    @cached_property
    def queue(self) -> dict[str, str]:
        """The attributes of that queue."""
        return self.queue_attributes(self._queue_arn)

    @property
    def queue_name(self) -> str:
        """The name of that queue."""
        return self._queue_arn.rpartition(":")[2]

    @property
    def dead_letter_arn(self) -> str | None:
        """ARN of that queue's dead-letter queue; None if it has none."""
        policy = self.queue.get("RedrivePolicy")
        return None if policy is None else str(json.loads(policy)["deadLetterTargetArn"])

    @property
    def _queue_arn(self) -> str:
        if self.queue_arn is None:
            raise Skipped("the raw bucket notifies no queue")
        return self.queue_arn

    def queue_url(self, arn: str) -> str:
        """The URL of the queue ``arn``."""
        return str(self._client("sqs").get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"])

    def queue_attributes(self, arn: str) -> dict[str, str]:
        """The current attributes of the queue ``arn``."""
        attributes: dict[str, str] = self._client("sqs").get_queue_attributes(
            QueueUrl=self.queue_url(arn), AttributeNames=["All"]
        )["Attributes"]
        return attributes

    def events_in(self, queue_arn: str | None) -> int:
        """The number of events that wait in a queue or are being processed now."""
        if queue_arn is None:
            return 0
        attributes = self.queue_attributes(queue_arn)
        return sum(int(attributes[name]) for name in _COUNTS)

    @cached_property
    def trigger(self) -> dict[str, Any] | None:
        """The event source mapping from the queue to the function; None if there is none."""
        found = self._client("lambda").list_event_source_mappings(EventSourceArn=self._queue_arn)
        return next(iter(found["EventSourceMappings"]), None)

    @cached_property
    def function(self) -> dict[str, Any]:
        """The configuration of the function that the queue triggers."""
        if self.trigger is None:
            raise Skipped("the queue triggers no function")
        configuration: dict[str, Any] = self._client("lambda").get_function_configuration(
            FunctionName=self.trigger["FunctionArn"]
        )
        return configuration
