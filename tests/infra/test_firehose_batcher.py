"""What FirehoseBatcher promises, read from the synthesized template."""

import json

import pytest
from aws_cdk import Duration, Size, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template

from stacks.constructs.firehose_batcher import FirehoseBatcher


def synthesize(*, seconds: int = 60, mebibytes: int = 64) -> Template:
    stack = Stack()
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
    with pytest.raises(RuntimeError, match=f"got {refused}"):  # their value, not their wording
        synthesize(seconds=seconds, mebibytes=mebibytes)
