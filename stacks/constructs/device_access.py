"""DeviceAccess: what a device certificate may do."""

import json
from collections.abc import Sequence

from aws_cdk import Aws
from aws_cdk import aws_iot as iot
from constructs import Construct

from contracts import names
from stacks.helpers.iot_arn import iot_arn

# IoT Core fills it in for a certificate that is attached to the thing named by the client id.
_THING = "${iot:Connection.Thing.ThingName}"


class DevicePolicyError(ValueError):
    """The device policy is longer than AWS IoT accepts."""


class DeviceAccess(Construct):
    """The IoT policy and the thing group of every device of an environment.

    A device may connect as its own thing and publish to its own topics. One of these is for
    proof: a new certificate publishes there before anything relies on it.

    Args:
        environment: First part of the policy's name, second level of the topics.
        channels: The contracts' names. No rule reads any other topic: a message there would be
            acknowledged and lost, so the policy refuses it.
        log_level: What AWS IoT logs about the things of the group: DEBUG, INFO, WARN, ERROR or
            DISABLED. AWS refuses it in an account whose IoT logging is not switched on: that
            switch is one per account and region, so it cannot belong to an environment. None for
            the account's own level.

    Attributes:
        policy_name: Attach it to every device certificate of the environment.
        thing_group_name: Add every thing of the environment to it.

    Raises:
        DevicePolicyError: There are too many channels.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: str,
        channels: Sequence[str],
        log_level: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.policy_name = names.device_policy_name(environment)
        self.thing_group_name = names.thing_group_name(environment)
        topics = names.publish_topics(environment, _THING, channels)
        document = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "iot:Connect",
                    "Resource": iot_arn(self, "client", _THING),
                    "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
                },
                {
                    "Effect": "Allow",
                    "Action": "iot:Publish",
                    "Resource": [iot_arn(self, "topic", topic) for topic in topics],
                },
            ],
        }
        _check_length(document, channels)
        iot.CfnPolicy(self, "Policy", policy_name=self.policy_name, policy_document=document)
        things = iot.CfnThingGroup(self, "Things", thing_group_name=self.thing_group_name)
        if log_level is not None:
            # https://docs.aws.amazon.com/iot/latest/developerguide/configure-logging.html
            logging = iot.CfnResourceSpecificLogging(
                self,
                "Logging",
                target_type="THING_GROUP",
                target_name=self.thing_group_name,
                log_level=log_level,
            )
            logging.add_dependency(things)


def _check_length(document: object, channels: Sequence[str]) -> None:
    # As deployed in the region with the longest name.
    text = json.dumps(document, separators=(",", ":"))
    for token, longest in (
        (Aws.PARTITION, "aws-us-gov"),
        (Aws.REGION, "ap-southeast-1"),
        (Aws.ACCOUNT_ID, "123456789012"),
    ):
        text = text.replace(token, longest)
    if len(text) > names.MAX_POLICY_CHARACTERS:
        raise DevicePolicyError(
            f"contracts: expected channels whose device policy has at most "
            f"{names.MAX_POLICY_CHARACTERS} characters, got {len(channels)} channels and "
            f"{len(text)} characters; shorten their names or remove contracts"
        )
