"""FirehoseBatcher: device messages in, one compressed object per batch out."""

from aws_cdk import Aws, Duration, RemovalPolicy, Size
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk.interfaces.aws_kinesisfirehose import IDeliveryStreamRef
from constructs import Construct

from stacks.helpers.service_role import service_role

_UTC_HOUR = "dt=!{timestamp:yyyy-MM-dd}/hour=!{timestamp:HH}/"


class FirehoseBatcher(Construct):
    """A Data Firehose stream that writes one channel's messages to a bucket in batches.

    A batch closes when the first of the two buffering hints is reached. Objects are
    gzip, under the UTC arrival hour of their oldest record; what Firehose cannot
    deliver goes to ``failed/``.

    Args:
        bucket: Where batches are written. The caller owns it and its lifecycle.
        channel: The contract's name; part of every key.
        buffering_interval: How long a batch is held open, 0 to 900 s.
        buffering_size: Batch size before compression, 1 to 128 MiB.

    Attributes:
        delivery_stream: Receives the messages.
        raw_prefix: Key prefix of every delivered batch, with trailing slash.

    Raises:
        ValueError: A hint is outside the range above.

    See https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        bucket: s3.IBucket,
        channel: str,
        buffering_interval: Duration,
        buffering_size: Size,
    ) -> None:
        super().__init__(scope, construct_id)
        self.raw_prefix = f"raw/{channel}/"
        _check_hint(buffering_interval.to_seconds(), 0, 900, "s")
        _check_hint(buffering_size.to_mebibytes(), 1, 128, "MiB")
        log_group = logs.LogGroup(
            self,
            "DeliveryErrors",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        log_stream = logs.LogStream(
            self, "DeliveryErrorsStream", log_group=log_group, removal_policy=RemovalPolicy.DESTROY
        )
        # Firehose passes the account it acts for as the external id.
        # https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html
        role, policy = service_role(
            self,
            "firehose.amazonaws.com",
            conditions={"StringEquals": {"sts:ExternalId": Aws.ACCOUNT_ID}},
            statements=(
                (
                    ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
                    [bucket.bucket_arn],
                ),
                (
                    ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
                    [
                        bucket.arn_for_objects(f"{self.raw_prefix}*"),
                        bucket.arn_for_objects(f"failed/*/{channel}/*"),
                    ],
                ),
                (["logs:PutLogEvents"], [log_group.log_group_arn]),
            ),
            why_wildcards="Firehose makes up a key for each object.",
        )
        # The L2 construct cannot synthesize for regions that the CDK does not know yet.
        stream = firehose.CfnDeliveryStream(
            self,
            "DeliveryStream",
            delivery_stream_type="DirectPut",
            delivery_stream_encryption_configuration_input=firehose.CfnDeliveryStream.DeliveryStreamEncryptionConfigurationInputProperty(
                key_type="AWS_OWNED_CMK"
            ),
            extended_s3_destination_configuration=firehose.CfnDeliveryStream.ExtendedS3DestinationConfigurationProperty(
                bucket_arn=bucket.bucket_arn,
                role_arn=role.role_arn,
                buffering_hints=firehose.CfnDeliveryStream.BufferingHintsProperty(
                    interval_in_seconds=int(buffering_interval.to_seconds()),
                    size_in_m_bs=int(buffering_size.to_mebibytes()),
                ),
                compression_format="GZIP",
                file_extension=".ndjson.gz",
                prefix=self.raw_prefix + _UTC_HOUR,
                error_output_prefix=f"failed/!{{firehose:error-output-type}}/{channel}/{_UTC_HOUR}",
                cloud_watch_logging_options=firehose.CfnDeliveryStream.CloudWatchLoggingOptionsProperty(
                    enabled=True,
                    log_group_name=log_group.log_group_name,
                    log_stream_name=log_stream.log_stream_name,
                ),
            ),
        )
        stream.node.add_dependency(policy)
        self.delivery_stream: IDeliveryStreamRef = stream


def _check_hint(got: float, lowest: int, highest: int, unit: str) -> None:
    # https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html
    if not lowest <= got <= highest:
        raise ValueError(
            f"expected a buffering hint of {lowest} to {highest} {unit}, got {got:g} {unit}"
        )
