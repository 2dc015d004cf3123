"""What FirehoseBatcher promises, read from the synthesized template."""

import json

import pytest
from aws_cdk import App, Duration, Environment, Size, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template

from stacks.constructs.firehose_batcher import FirehoseBatcher


def synthesize(*, seconds: int = 60, mebibytes: int = 64, region: str | None = None) -> Template:
    stack = Stack(App(), env=Environment(region=region))
    FirehoseBatcher(
        stack,
        "Batcher",
        bucket=s3.Bucket(stack, "Raw"),
        channel="telemetry",
        buffering_interval=Duration.seconds(seconds),
        buffering_size=Size.mebibytes(mebibytes),
    )
    return Template.from_stack(stack)


def has_destination(template: Template, **expected: object) -> None:
    template.has_resource_properties(
        "AWS::KinesisFirehose::DeliveryStream",
        {"ExtendedS3DestinationConfiguration": Match.object_like(expected)},
    )


def test_flushes_on_the_hints_it_is_given() -> None:
    has_destination(
        synthesize(seconds=90, mebibytes=32),
        BufferingHints={"IntervalInSeconds": 90, "SizeInMBs": 32},
    )


def test_writes_gzip_objects_under_a_hive_style_utc_hour() -> None:
    has_destination(
        synthesize(),
        CompressionFormat="GZIP",
        FileExtension=".ndjson.gz",
        Prefix="raw/telemetry/dt=!{timestamp:yyyy-MM-dd}/hour=!{timestamp:HH}/",
    )


@pytest.mark.parametrize("region", ["mx-central-1", "eusc-de-east-1", "us-iso-east-1"])
def test_synthesizes_for_regions_that_the_cdk_does_not_know(region: str) -> None:
    has_destination(synthesize(region=region), CompressionFormat="GZIP")


def test_records_are_encrypted_while_they_wait() -> None:
    synthesize().has_resource_properties(
        "AWS::KinesisFirehose::DeliveryStream",
        {"DeliveryStreamEncryptionConfigurationInput": {"KeyType": "AWS_OWNED_CMK"}},
    )


def test_delivery_errors_are_logged_where_the_role_may_write() -> None:
    template = synthesize()
    (stream,) = template.find_resources("AWS::KinesisFirehose::DeliveryStream").values()
    logging = stream["Properties"]["ExtendedS3DestinationConfiguration"]["CloudWatchLoggingOptions"]
    assert logging["Enabled"] is True
    (group,) = template.find_resources("AWS::Logs::LogGroup")
    assert logging["LogGroupName"] == {"Ref": group}
    (log_stream,) = template.find_resources("AWS::Logs::LogStream")
    assert logging["LogStreamName"] == {"Ref": log_stream}
    (policy,) = template.find_resources("AWS::IAM::Policy").values()
    (writing,) = (
        statement
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "logs:PutLogEvents"
    )
    assert writing["Resource"] == {"Fn::GetAtt": [group, "Arn"]}


def test_keeps_what_it_cannot_deliver_by_the_type_of_error() -> None:
    has_destination(
        synthesize(),
        ErrorOutputPrefix=(
            "failed/!{firehose:error-output-type}/telemetry/"
            "dt=!{timestamp:yyyy-MM-dd}/hour=!{timestamp:HH}/"
        ),
    )


def test_only_its_own_account_may_have_firehose_use_the_role() -> None:
    synthesize().has_resource_properties(
        "AWS::IAM::Role",
        {
            "AssumeRolePolicyDocument": Match.object_like(
                {
                    "Statement": [
                        Match.object_like(
                            {
                                "Principal": {"Service": "firehose.amazonaws.com"},
                                "Condition": {
                                    "StringEquals": {"sts:ExternalId": {"Ref": "AWS::AccountId"}}
                                },
                            }
                        )
                    ]
                }
            )
        },
    )


def test_can_neither_delete_nor_write_outside_its_own_prefixes() -> None:
    policies = synthesize().find_resources("AWS::IAM::Policy")
    ((_, policy),) = policies.items()
    text = json.dumps(policy)
    assert "Delete" not in text
    (writing,) = (
        statement
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "s3:PutObject" in statement["Action"]
    )
    assert [arn["Fn::Join"][1][1] for arn in writing["Resource"]] == [
        "/raw/telemetry/*",
        "/failed/*/telemetry/*",
    ]


def test_its_error_log_does_not_grow_for_ever() -> None:
    synthesize().has_resource_properties("AWS::Logs::LogGroup", {"RetentionInDays": 30})


@pytest.mark.parametrize(
    ("seconds", "mebibytes", "refused"),
    [
        pytest.param(901, 64, "901 s", id="waits too long"),
        pytest.param(60, 129, "129 MiB", id="batch too large"),
    ],
)
def test_fails_synthesis_when_firehose_would_refuse_the_hint(
    seconds: int, mebibytes: int, refused: str
) -> None:
    with pytest.raises(ValueError, match=f"got {refused}"):
        synthesize(seconds=seconds, mebibytes=mebibytes)
