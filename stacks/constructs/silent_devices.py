"""SilentDevices: tells which devices stopped reporting, and which are back."""

import json
from collections.abc import Mapping

from aws_cdk import Duration, Size
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.helpers.python_function import python_function

# After the last batch of the hour before is parsed.
_EVERY_HOUR = events.Schedule.cron(minute="10")


class SilentDevices(Construct):
    """A function that EventBridge starts every hour.

    It reads when messages of each device arrived from the rows of the last hours, and keeps what
    it knows of the devices in one object per channel.

    Args:
        code: The rebuild's asset, which has DuckDB.
        expected_every: How often a device reports, by channel; at least one channel.
        parsed_bucket: Read under ``parsed/{channel}/``; the object is ``silence/{channel}.json``.
        topic: Gets one notification per run, channel and kind. None if only the function's log
            tells.

    Attributes:
        function: The Lambda function.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        expected_every: Mapping[str, Duration],
        parsed_bucket: s3.IBucket,
        topic: sns.ITopic | None,
    ) -> None:
        super().__init__(scope, construct_id)
        states = [parsed_bucket.arn_for_objects(f"silence/{name}.json") for name in expected_every]
        statements: list[tuple[list[str], list[str]] | iam.PolicyStatement] = [
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[parsed_bucket.bucket_arn],
                conditions={
                    "StringLike": {
                        "s3:prefix": [
                            prefix
                            for name in expected_every
                            for prefix in (f"parsed/{name}/*", f"silence/{name}.json")
                        ]
                    }
                },
            ),
            (
                ["s3:GetObject"],
                [
                    *(parsed_bucket.arn_for_objects(f"parsed/{name}/*") for name in expected_every),
                    *states,
                ],
            ),
            (["s3:PutObject"], states),
        ]
        if topic is not None:
            statements.append((["sns:Publish"], [topic.topic_arn]))
        self.function = python_function(
            self,
            handler="telemetry_rebuild.silence_handler.handler",
            description="Tells which devices fell silent, and which are back",
            code=code,
            memory=Size.mebibytes(1769),
            timeout=Duration.minutes(15),
            environment={
                "PARSED_BUCKET": parsed_bucket.bucket_name,
                "EXPECTED_SECONDS": json.dumps(
                    {name: round(every.to_seconds()) for name, every in expected_every.items()}
                ),
                "POWERTOOLS_SERVICE_NAME": "silence",
                **({} if topic is None else {"TOPIC_ARN": topic.topic_arn}),
            },
            statements=statements,
            why_wildcards="Every parsed object of the channels.",
        )
        events.Rule(
            self,
            "EveryHour",
            description="Looks for devices that fell silent",
            schedule=_EVERY_HOUR,
            # The next run sees what a failed one would have seen.
            targets=[targets.LambdaFunction(self.function, retry_attempts=0)],
        )
