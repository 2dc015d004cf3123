"""How messages enter: what a device may do, and the rule that hands its messages on."""

import json
from collections.abc import Sequence

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contracts import names
from stacks.acknowledgements import acknowledge_wildcards
from stacks.iot_arn import iot_arn

# IoT Core fills it in for a certificate that is attached to the thing named by the client id.
_THING = "${iot:Connection.Thing.ThingName}"


class DeviceAccess(Construct):
    """What a device certificate may do: be its own thing, and publish to its own topics.

    One of them is for proof: a certificate is tried out there before it is relied on.

    Args:
        environment: First part of the policy's name, second level of the topics.
        channels: The contracts' names. Any other topic that no rule reads is refused:
            a message there would be acknowledged and lost.

    Attributes:
        policy_name: Attach it to every device certificate of the environment.
        thing_group_name: Add every thing of the environment to it.

    Raises:
        ValueError: So many channels that the policy is longer than AWS IoT takes.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, environment: str, channels: Sequence[str]
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
        iot.CfnThingGroup(self, "Things", thing_group_name=self.thing_group_name)


class IoTIngest(Construct):
    """A topic rule that hands every message of one channel, byte for byte, to Firehose.

    The payload travels in base64 inside an envelope, so that any payload survives. When
    Firehose refuses it, the error action keeps the whole message under ``undelivered/``.

    Args:
        environment: First part of the rule's name, second level of the topics it reads.
        channel: Fourth level of the topics it reads.
        delivery_stream: Where messages go, one line each.
        undelivered_bucket: Where the error action writes.

    Attributes:
        rule_name: Devices name it in Basic Ingest topics.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: str,
        channel: str,
        delivery_stream: firehose.IDeliveryStream,
        undelivered_bucket: s3.IBucket,
    ) -> None:
        super().__init__(scope, construct_id)
        self.rule_name = names.rule_name(environment, channel)
        undelivered = f"undelivered/{channel}/"
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "iot.amazonaws.com",
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {"aws:SourceArn": iot_arn(self, "rule", self.rule_name)},
                },
            ),
        )
        policy = iam.Policy(
            self,
            "Policy",
            roles=[role],
            statements=[
                # Not grant_put_records: it adds PutRecordBatch, which only batchMode needs.
                iam.PolicyStatement(
                    actions=["firehose:PutRecord"], resources=[delivery_stream.delivery_stream_arn]
                ),
                iam.PolicyStatement(
                    actions=["s3:PutObject"],
                    resources=[undelivered_bucket.arn_for_objects(f"{undelivered}*")],
                ),
            ],
        )
        acknowledge_wildcards(policy, "The error action makes up a key for each message.")
        rule = iot.CfnTopicRule(
            self,
            "Rule",
            rule_name=self.rule_name,
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                aws_iot_sql_version="2016-03-23",
                sql=(
                    "SELECT encode(*, 'base64') AS payload, topic() AS topic, "
                    "clientid() AS client_id, principal() AS certificate_id, "
                    "timestamp() AS received_at, traceid() AS trace_id "
                    f"FROM 'dt/{environment}/+/#' WHERE topic(4) = '{channel}'"
                ),
                actions=[
                    iot.CfnTopicRule.ActionProperty(
                        firehose=iot.CfnTopicRule.FirehoseActionProperty(
                            delivery_stream_name=delivery_stream.delivery_stream_name,
                            role_arn=role.role_arn,
                            separator="\n",
                        )
                    )
                ],
                error_action=iot.CfnTopicRule.ActionProperty(
                    s3=iot.CfnTopicRule.S3ActionProperty(
                        bucket_name=undelivered_bucket.bucket_name,
                        key=(
                            f'{undelivered}dt=${{parse_time("yyyy-MM-dd", timestamp(), "UTC")}}/'
                            "${newuuid()}.json"
                        ),
                        role_arn=role.role_arn,
                    )
                ),
            ),
        )
        # The first message may come as soon as there is a rule.
        rule.node.add_dependency(policy)


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
        raise ValueError(
            f"expected a device policy of at most {names.MAX_POLICY_CHARACTERS} characters, got "
            f"{len(text)} for {len(channels)} channels; shorten or remove contracts"
        )
