"""FirehoseBatcher: device messages in, one compressed object per batch out."""

from aws_cdk import Aws, Duration, RemovalPolicy, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.acknowledgements import acknowledge_wildcards

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
        delivery_stream: Pass to whatever puts records; call its ``grant_put_records``.
        raw_prefix: Key prefix of every delivered batch, with trailing slash.

    Raises:
        RuntimeError: At synthesis, if a hint is outside the range above.

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

        # The log group that the L2 would make for us keeps its events for ever.
        log_group = logs.LogGroup(
            self,
            "DeliveryErrors",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        # Firehose passes the account it acts for as the external id.
        # https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "firehose.amazonaws.com",
                conditions={"StringEquals": {"sts:ExternalId": Aws.ACCOUNT_ID}},
            ),
        )
        policy = iam.Policy(
            self,
            "Policy",
            roles=[role],
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "s3:GetBucketLocation",
                        "s3:ListBucket",
                        "s3:ListBucketMultipartUploads",
                    ],
                    resources=[bucket.bucket_arn],
                ),
                iam.PolicyStatement(
                    actions=["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
                    resources=[
                        bucket.arn_for_objects(f"{self.raw_prefix}*"),
                        bucket.arn_for_objects(f"failed/*/{channel}/*"),
                    ],
                ),
                iam.PolicyStatement(
                    actions=["logs:PutLogEvents"], resources=[log_group.log_group_arn]
                ),
            ],
        )
        acknowledge_wildcards(policy, "Firehose makes up a key for each object.")
        self.delivery_stream: firehose.IDeliveryStream = firehose.DeliveryStream(
            self,
            "DeliveryStream",
            encryption=firehose.StreamEncryption.aws_owned_key(),
            destination=firehose.S3Bucket(
                bucket,
                # The statements above instead of the L2's grants, which add delete on all keys.
                role=role.without_policy_updates(),
                buffering_interval=buffering_interval,
                buffering_size=buffering_size,
                compression=firehose.Compression.GZIP,
                file_extension=".ndjson.gz",
                data_output_prefix=self.raw_prefix + _UTC_HOUR,
                error_output_prefix=f"failed/!{{firehose:error-output-type}}/{channel}/{_UTC_HOUR}",
                logging_config=firehose.EnableLogging(log_group),
            ),
        )
        self.delivery_stream.node.add_dependency(policy)
