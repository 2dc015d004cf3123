"""ParserFunction: a queue of raw objects, and the function that parses them."""

from aws_cdk import Aws, Duration, Size, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.helpers.python_function import python_function
from stacks.helpers.service_metric import service_metric

# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
_VISIBILITY_TIMEOUTS = 6
_MAX_RECEIVE_COUNT = 5


class ParserFunction(Construct):
    """Parses one channel's raw objects, as events about them arrive in its queue.

    After five failed attempts the event goes to the dead-letter queue; the object stays in the
    raw bucket.

    Args:
        code: The parser's asset, for arm64.
        channel: The contract's name.
        raw_bucket: Read under ``raw/{channel}/`` only. Its events must go to ``queue``.
        parsed_bucket: Written under ``parsed/{channel}/`` and ``rejected/{channel}/`` only.
        memory: 128 to 10,240 MiB.
        timeout: For one object, at most 900 s.
        maximum_concurrency: Objects parsed at the same time, 2 to 1,000.

    Attributes:
        function: The Lambda function.
        queue: Takes the raw bucket's events.
        dead_letter_queue: Keeps events about objects that could not be parsed.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        channel: str,
        raw_bucket: s3.IBucket,
        parsed_bucket: s3.IBucket,
        memory: Size,
        timeout: Duration,
        maximum_concurrency: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.dead_letter_queue = sqs.Queue(
            self,
            "DeadLetterQueue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # A moved message keeps its age, so this must exceed the source's retention.
            retention_period=Duration.days(14),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(4),
            visibility_timeout=Duration.seconds(_VISIBILITY_TIMEOUTS * timeout.to_seconds()),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letter_queue, max_receive_count=_MAX_RECEIVE_COUNT
            ),
        )
        self.queue.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("s3.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.queue.queue_arn],
                # Not the bucket's ARN too: the bucket refers to the queue, and its name is made
                # by CloudFormation, so that would be a cycle.
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        stack_name = Stack.of(self).stack_name
        self._metrics = {"namespace": stack_name, "service": f"parser-{channel}"}
        self.function = python_function(
            self,
            handler="telemetry_parser.handler.handler",
            description=f"Parses batches of {channel} messages into Parquet",
            code=code,
            memory=memory,
            timeout=timeout,
            # Outputs are written to /tmp first, and those of one object can exceed 512 MiB.
            ephemeral_storage=Size.gibibytes(1),
            tracing=True,
            environment={
                "CHANNEL": channel,
                "PARSED_BUCKET": parsed_bucket.bucket_name,
                "POWERTOOLS_SERVICE_NAME": self._metrics["service"],
                "POWERTOOLS_METRICS_NAMESPACE": self._metrics["namespace"],
            },
            statements=(
                (
                    ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
                    [self.queue.queue_arn],
                ),
                (["s3:GetObject"], [raw_bucket.arn_for_objects(f"raw/{channel}/*")]),
                (
                    # Delete: outputs that only an earlier version of the parser made must go.
                    ["s3:PutObject", "s3:DeleteObject"],
                    [
                        parsed_bucket.arn_for_objects(f"parsed/{channel}/*"),
                        parsed_bucket.arn_for_objects(f"rejected/{channel}/*"),
                    ],
                ),
            ),
            why_wildcards="Every key of this channel, and X-Ray, which has no ARNs.",
        )
        self.function.add_event_source(
            sources.SqsEventSource(
                self.queue,
                # One object at a time: its size, not the number of messages, fills the timeout,
                # and one that kills the function takes no other with it.
                batch_size=1,
                max_concurrency=maximum_concurrency,
                report_batch_item_failures=True,
            )
        )

    def metric(self, name: str) -> cloudwatch.Metric:
        """The sum of a metric that the function writes (``telemetry_parser.report``)."""
        return service_metric(name, self._metrics)
