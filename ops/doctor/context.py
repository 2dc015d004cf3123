"""What the checks look at: the identity's folder, and what is deployed, each read once.

From the topic rule on, every hop is found through the one before it, as a message would: the rule
names the stream, the stream the bucket, the bucket the queue, the queue the function.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from contracts import names
from device import aws, identity
from device.errors import IdentityError
from device.identity import Device, Identity

RECENT = timedelta(hours=24)
"""How far back the buckets are searched."""


def _now() -> datetime:
    return datetime.now(UTC)


class Skipped(Exception):  # noqa: N818  # reads as what happened
    """The check cannot say anything here; why."""


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object in a listing."""

    bucket: str
    key: str
    modified: datetime


@dataclass
class Context:
    """One identity of one environment.

    Attributes:
        environment_name: As in ``cdk.json``.
        thing_name: Whose messages do not appear.
        channel: Name of the contract.
        root: The project's folder.
        customer: Whose, if not the thing's own.
        environment: Set by the check that opens it; None while there are no credentials.
        clock: This machine's.
    """

    environment_name: str
    thing_name: str
    channel: str
    root: Path
    customer: str | None = None
    environment: aws.AwsEnvironment | None = None
    clock: Callable[[], datetime] = _now

    @property
    def folder(self) -> Path:
        """Where the identity is."""
        return identity.folder_of(self.environment_name, self.client_id, self.root)

    @property
    def client_id(self) -> str:
        """What the device must connect as."""
        return names.client_id(self.thing_name, self.customer)

    @property
    def device(self) -> Device:
        """What ``device.json`` says."""
        try:
            return identity.read_device(self.folder)
        except IdentityError:
            raise Skipped("there is no readable device.json") from None

    @property
    def identity(self) -> Identity:
        """The identity, its files not looked at."""
        return Identity(self.folder, self.device)

    @property
    def topic(self) -> str:
        """Where the device publishes: through Basic Ingest, as ``device.publish`` does."""
        return names.basic_ingest_topic(
            self.environment_name, self.thing_name, self.channel, self.customer
        )

    @property
    def plain_topic(self) -> str:
        """The same as rules and rows see it."""
        return names.topic(self.environment_name, self.thing_name, self.channel, self.customer)

    def command(self, arguments: str) -> str:
        """A command of the AWS CLI that reaches this environment."""
        local = "AWS_CONFIG_FILE=.local/aws/config AWS_PROFILE=local "
        return f"run {local if self.environment_name == aws.LOCAL else ''}aws {arguments}"

    @property
    def options(self) -> str:
        """What names the identity to the commands."""
        return identity.options(self.environment_name, self.thing_name, self.customer)

    @property
    def provision(self) -> str:
        """What mends an identity."""
        return f"run python -m device.provision {self.options}"

    @property
    def mend_policy(self) -> str:
        """What mends the identity's policy: the stack's, or that of a customer."""
        return self.deploy if self.customer is None else self.provision

    @property
    def deploy(self) -> str:
        """What mends what is deployed; a local stack whose parts were changed is made anew."""
        if self.environment_name == aws.LOCAL:
            return "run python -m local down && python -m local up --detach"
        return f"run {aws.deploy_command(self.environment_name)}"

    def look(self, elsewhere: str) -> str:
        """Where to look for what AWS shows in metrics and logs, and a local stack in neither."""
        if self.environment_name == aws.LOCAL:
            return "run python -m local status, and look into .local/logs"
        return elsewhere

    @property
    def cloud(self) -> aws.AwsEnvironment:
        """The environment in its AWS account."""
        if self.environment is None:
            raise Skipped("no access to the environment's AWS account")
        return self.environment

    def client(self, service: str) -> Any:
        """A client for ``service`` in the environment's account."""
        return self.cloud.session.client(service)  # type: ignore[call-overload]  # any service

    @cached_property
    def rule(self) -> dict[str, Any]:
        """The topic rule of the channel."""
        name = names.rule_name(self.environment_name, self.channel)
        rule: dict[str, Any] = self.client("iot").get_topic_rule(ruleName=name)["rule"]
        return rule

    @cached_property
    def stream(self) -> dict[str, Any]:
        """The delivery stream that the rule feeds."""
        actions = [action["firehose"] for action in self.rule["actions"] if "firehose" in action]
        if not actions:
            raise Skipped("the rule has no Firehose action")
        stream: dict[str, Any] = self.client("firehose").describe_delivery_stream(
            DeliveryStreamName=actions[0]["deliveryStreamName"]
        )["DeliveryStreamDescription"]
        return stream

    @property
    def destination(self) -> dict[str, Any]:
        """Where and how the stream writes."""
        destination: dict[str, Any] = self.stream["Destinations"][0][
            "ExtendedS3DestinationDescription"
        ]
        return destination

    @cached_property
    def outputs(self) -> dict[str, str]:
        """What the stack tells of itself."""
        stacks = self.client("cloudformation").describe_stacks(
            StackName=names.stack_name(self.environment_name)
        )["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}

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
        """The queue that hears of the channel's raw objects; None: none does."""
        found = self.client("s3").get_bucket_notification_configuration(Bucket=self.raw_bucket)
        example = f"raw/{self.channel}/dt=2000-01-01/hour=00/object.ndjson.gz"
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
        """That queue's attributes."""
        if self.queue_arn is None:
            raise Skipped("no queue hears of raw objects")
        return self.queue_attributes(self.queue_arn)

    def queue_attributes(self, arn: str) -> dict[str, str]:
        """The attributes of the queue ``arn``."""
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        attributes: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
            "Attributes"
        ]
        return attributes

    @cached_property
    def trigger(self) -> dict[str, Any] | None:
        """The event source mapping from the queue to the function; None: there is none."""
        found = self.client("lambda").list_event_source_mappings(EventSourceArn=self.queue_arn)
        return next(iter(found["EventSourceMappings"]), None)

    @cached_property
    def function(self) -> dict[str, Any]:
        """The configuration of the function that the queue triggers."""
        if self.trigger is None:
            raise Skipped("no function is triggered")
        configuration: dict[str, Any] = self.client("lambda").get_function_configuration(
            FunctionName=self.trigger["FunctionArn"]
        )
        return configuration

    def newest(self, bucket: str, prefix: str) -> Iterator[S3Object]:
        """Objects under ``prefix{dt=…/hour=…/}`` of the recent past, the newest hour first."""
        now = datetime.now(UTC)
        for hours in range(int(RECENT / timedelta(hours=1)) + 1):
            moment = now - timedelta(hours=hours)
            listed = self.listed(bucket, f"{prefix}{moment:dt=%Y-%m-%d/hour=%H}/")
            yield from sorted(listed, key=lambda found: found.modified, reverse=True)

    def listed(self, bucket: str, prefix: str) -> Iterator[S3Object]:
        """Every object under ``prefix``."""
        pages = self.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                yield S3Object(bucket, entry["Key"], entry["LastModified"])

    def body(self, found: S3Object, most_bytes: int = 64 * 2**20) -> bytes:
        """What is in the object, its beginning if it is larger than ``most_bytes``."""
        answer = self.client("s3").get_object(Bucket=found.bucket, Key=found.key)
        content: bytes = answer["Body"].read(most_bytes)
        return content
