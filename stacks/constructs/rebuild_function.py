"""RebuildFunction: makes the daily objects of one channel's hour from its raw objects."""

from collections.abc import Sequence

from aws_cdk import Duration, Size, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.helpers.python_function import python_function
from stacks.helpers.service_metric import service_metric

# What a sort writes to disk is bounded by what the largest function storage holds.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-ephemeral-storage.html
_EPHEMERAL_STORAGE = Size.gibibytes(10)
_TIMEOUT = Duration.minutes(15)

# DuckDB gets this part of the memory; a virtual CPU comes with so much memory.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_SORT_SHARE = 3
_MEBIBYTES_PER_CPU = 1769


class RebuildFunction(Construct):
    """Rebuilds an hour of any channel; ``History`` decides which.

    Args:
        code: The rebuild's asset, for arm64.
        channels: The contracts' names.
        raw_bucket: Read and listed under ``raw/{channel}/`` only.
        parsed_bucket: Written under ``daily/{channel}/`` and ``manifests/{channel}/`` only.
        daily_retention: How long daily objects are kept; an earlier time of a reading is wrong.
        memory: 1,024 to 10,240 MiB.

    Attributes:
        function: The Lambda function.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        channels: Sequence[str],
        raw_bucket: s3.IBucket,
        parsed_bucket: s3.IBucket,
        daily_retention: Duration,
        memory: Size,
    ) -> None:
        super().__init__(scope, construct_id)
        self._metrics = {"namespace": Stack.of(self).stack_name, "service": "rebuild"}

        def keys(bucket: s3.IBucket, *prefixes: str) -> list[str]:
            return [
                bucket.arn_for_objects(f"{prefix}/{channel}/*")
                for prefix in prefixes
                for channel in channels
            ]

        def listing(bucket: s3.IBucket, prefix: str) -> iam.PolicyStatement:
            return iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[bucket.bucket_arn],
                conditions={
                    "StringLike": {"s3:prefix": [f"{prefix}/{channel}/*" for channel in channels]}
                },
            )

        mebibytes = int(memory.to_mebibytes())
        self.function = python_function(
            self,
            handler="telemetry_rebuild.handler.handler",
            description="Rebuilds the daily objects of one channel's hour from its raw objects",
            code=code,
            memory=memory,
            timeout=_TIMEOUT,
            ephemeral_storage=_EPHEMERAL_STORAGE,
            tracing=True,
            environment={
                "RAW_BUCKET": raw_bucket.bucket_name,
                "PARSED_BUCKET": parsed_bucket.bucket_name,
                "DAILY_RETENTION_DAYS": f"{daily_retention.to_days():.0f}",
                "SORT_MEMORY_MEBIBYTES": str(mebibytes // _SORT_SHARE),
                "SORT_THREADS": str(max(1, mebibytes // _MEBIBYTES_PER_CPU)),
                "POWERTOOLS_SERVICE_NAME": self._metrics["service"],
                "POWERTOOLS_METRICS_NAMESPACE": self._metrics["namespace"],
            },
            statements=(
                listing(raw_bucket, "raw"),
                # A missing manifest is found by listing: S3 tells nobody else that it is missing.
                listing(parsed_bucket, "manifests"),
                (
                    ["s3:GetObject"],
                    [*keys(raw_bucket, "raw"), *keys(parsed_bucket, "manifests")],
                ),
                (["s3:PutObject"], keys(parsed_bucket, "daily", "manifests")),
                # Delete: daily objects that only an earlier run wrote must go.
                (["s3:DeleteObject"], keys(parsed_bucket, "daily")),
            ),
            why_wildcards="Every key of the channels, and X-Ray, which has no ARNs.",
        )

    def metric(self, name: str) -> cloudwatch.Metric:
        """The sum of a metric of this service (``telemetry_rebuild.report``)."""
        return service_metric(name, self._metrics)
