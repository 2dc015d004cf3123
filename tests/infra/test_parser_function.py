"""What ParserFunction promises: its queue, its limits, and what it may touch."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk.assertions import Match, Template

from tests.infra.templates import allowed_to, function_of, log_retention_of

Resources = Callable[[Template, str], list[dict[str, Any]]]


def parser_of(template: Template) -> dict[str, Any]:
    return function_of(template, "telemetry_parser.handler.handler")


def test_runs_on_arm_with_the_newest_python_traced_and_with_bounded_logs(
    template: Template,
) -> None:
    function = parser_of(template)
    assert function["Architectures"] == ["arm64"]
    assert function["Runtime"] == "python3.14"
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert log_retention_of(template, function) == 30


def test_an_event_is_hidden_six_timeouts_and_dies_after_five_tries(
    template: Template, resources: Resources
) -> None:
    (queue,) = (
        queue for queue in resources(template, "AWS::SQS::Queue") if "RedrivePolicy" in queue
    )
    assert queue["VisibilityTimeout"] >= 6 * parser_of(template)["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 5


def test_dead_letters_outlive_the_queue_they_come_from(
    template: Template, resources: Resources
) -> None:
    queues = resources(template, "AWS::SQS::Queue")
    (source,) = (queue for queue in queues if "RedrivePolicy" in queue)
    (dead,) = (queue for queue in queues if "RedrivePolicy" not in queue)
    assert dead["MessageRetentionPeriod"] > source["MessageRetentionPeriod"]


def test_failures_are_reported_object_by_object_and_concurrency_is_bounded(
    template: Template,
) -> None:
    template.has_resource_properties(
        "AWS::Lambda::EventSourceMapping",
        {
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BatchSize": 1,
            "ScalingConfig": {"MaximumConcurrency": Match.any_value()},
        },
    )


def test_queues_are_encrypted_and_take_tls_only(template: Template, resources: Resources) -> None:
    template.all_resources_properties("AWS::SQS::Queue", {"SqsManagedSseEnabled": True})
    refusing = {
        queue["Ref"]
        for policy in resources(template, "AWS::SQS::QueuePolicy")
        for queue in policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }
    assert refusing == set(template.find_resources("AWS::SQS::Queue"))


def test_only_s3_of_this_account_may_put_events_into_the_queue(
    template: Template, resources: Resources
) -> None:
    allowing = [
        statement
        for policy in resources(template, "AWS::SQS::QueuePolicy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    (statement,) = allowing
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    }


def test_may_do_only_what_it_does_and_only_on_its_own_channel(template: Template) -> None:
    allowed = allowed_to(template, parser_of(template)["Role"]["Fn::GetAtt"][0])
    suffixes = {action: {arn.partition(">")[2] for arn in arns} for action, arns in allowed.items()}
    assert suffixes == {
        "s3:GetObject": {"/raw/telemetry/*"},
        "s3:PutObject": {"/parsed/telemetry/*", "/rejected/telemetry/*"},
        "s3:DeleteObject": {"/parsed/telemetry/*", "/rejected/telemetry/*"},
        "sqs:ReceiveMessage": {""},
        "sqs:DeleteMessage": {""},
        "sqs:GetQueueAttributes": {""},
        "logs:CreateLogStream": {""},
        "logs:PutLogEvents": {""},
        "xray:PutTraceSegments": {""},
        "xray:PutTelemetryRecords": {""},
    }


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_no_role_of_ours_has_a_managed_policy(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    template = template_of(environment)
    roles = {
        name: role["Properties"]
        for name, role in template.find_resources("AWS::IAM::Role").items()
        if not name.startswith("Custom")  # the CDK's helper that empties buckets, in dev only
    }
    assert not [name for name, role in roles.items() if role.get("ManagedPolicyArns")]
