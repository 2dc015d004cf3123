"""ParserFunction: a queue of raw objects, and the function that parses them."""

from aws_cdk import Aws, Duration, RemovalPolicy, Size
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.acknowledgements import acknowledge_wildcards

# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
_VISIBILITY_TIMEOUTS = 6
_MAX_RECEIVE_COUNT = 5
_METRICS_NAMESPACE = "Telemetry"


class ParserFunction(Construct):
    """Parses one channel's raw objects, as events about them arrive in its queue.

    An object that cannot be parsed five times over ends in the dead-letter queue, while the
    object itself stays where it is.

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
        objects_failed: How often an object went back to the queue, as the function counts it.
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
        service = f"parser-{channel}"
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
        log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        # Written out: the managed policy, grant_read and grant_write give more than is needed.
        policy = iam.Policy(
            self,
            "Policy",
            roles=[role],
            statements=[
                iam.PolicyStatement(actions=actions, resources=resources)
                for actions, resources in (
                    (
                        ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
                        [self.queue.queue_arn],
                    ),
                    (["s3:GetObject"], [raw_bucket.arn_for_objects(f"raw/{channel}/*")]),
                    (
                        # Delete: what an earlier parser wrote and this one does not must go.
                        ["s3:PutObject", "s3:DeleteObject"],
                        [
                            parsed_bucket.arn_for_objects(f"parsed/{channel}/*"),
                            parsed_bucket.arn_for_objects(f"rejected/{channel}/*"),
                        ],
                    ),
                    (
                        ["logs:CreateLogStream", "logs:PutLogEvents"],
                        [log_group.log_group_arn],
                    ),
                    # X-Ray has no resources to name.
                    (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
                )
            ],
        )
        acknowledge_wildcards(policy, "Every key of this channel, and X-Ray, which has no ARNs.")
        self.function = lambda_.Function(
            self,
            "Function",
            description=f"Parses batches of {channel} messages into Parquet",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler="telemetry_parser.handler.handler",
            code=code,
            role=role.without_policy_updates(),
            memory_size=int(memory.to_mebibytes()),
            timeout=timeout,
            # Outputs are made in /tmp; the most that one object may be made to hold exceeds
            # the default of 512 MiB.
            ephemeral_storage_size=Size.gibibytes(1),
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            tracing=lambda_.Tracing.ACTIVE,
            environment={
                "CHANNEL": channel,
                "PARSED_BUCKET": parsed_bucket.bucket_name,
                "POWERTOOLS_SERVICE_NAME": service,
                "POWERTOOLS_METRICS_NAMESPACE": _METRICS_NAMESPACE,
            },
        )
        self.function.node.add_dependency(policy)
        self.objects_failed = cloudwatch.Metric(
            namespace=_METRICS_NAMESPACE,
            metric_name="ObjectsFailed",
            dimensions_map={"service": service},
            statistic="Sum",
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
