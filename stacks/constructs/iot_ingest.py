"""IoTIngest: the topic rule that hands a channel's messages to Firehose."""

from aws_cdk import aws_iot as iot
from aws_cdk import aws_s3 as s3
from aws_cdk.interfaces.aws_kinesisfirehose import IDeliveryStreamRef
from constructs import Construct

from contracts import names
from stacks.helpers.iot_arn import iot_arn
from stacks.helpers.service_role import only_for, service_role


class IoTIngest(Construct):
    """A topic rule that hands every message of one channel, byte for byte, to Firehose.

    The payload travels in base64 inside an envelope, so that any payload survives. When
    Firehose refuses it, the error action keeps the whole message under ``undelivered/``.

    Args:
        environment: First part of the rule's name, second level of the topics it reads.
        channel: Fourth level of the topics it reads.
        delivery_stream: Receives the messages, one per line.
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
        delivery_stream: IDeliveryStreamRef,
        undelivered_bucket: s3.IBucket,
    ) -> None:
        super().__init__(scope, construct_id)
        self.rule_name = names.rule_name(environment, channel)
        stream = delivery_stream.delivery_stream_ref
        undelivered = f"undelivered/{channel}/"
        role, policy = service_role(
            self,
            "iot.amazonaws.com",
            conditions=only_for(iot_arn(self, "rule", self.rule_name)),
            statements=(
                # Not grant_put_records: it adds PutRecordBatch, which only batchMode needs.
                (["firehose:PutRecord"], [stream.delivery_stream_arn]),
                (["s3:PutObject"], [undelivered_bucket.arn_for_objects(f"{undelivered}*")]),
            ),
            why_wildcards="The error action makes up a key for each message.",
        )
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
                            delivery_stream_name=stream.delivery_stream_name,
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
