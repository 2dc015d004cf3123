"""The watch for silent devices: when it runs, what it may do, whom it tells."""

import json
from typing import Any

import pytest
from aws_cdk.assertions import Template

import contracts
from tests.infra.conftest import ROOT, stack_of_block
from tests.infra.templates import allowed_to, function_of, log_retention_of, role_of

HANDLER = "telemetry_rebuild.silence_handler.handler"
DOCUMENT = json.loads((ROOT / "contracts" / "telemetry.json").read_text())


def stack_with(block: dict[str, Any], **expected: str | None) -> Template:
    """A stack with these channels, and how often their devices report."""
    channels = [
        contracts.parse(
            channel, json.dumps(DOCUMENT | ({"x-expected-every": every} if every else {}))
        )
        for channel, every in expected.items()
    ]
    return Template.from_stack(stack_of_block("dev", block, channels))


@pytest.fixture(scope="module")
def watching() -> Template:
    return stack_with({"alarm_email": "ops@example.com"}, fast="10m", slow="2h", other=None)


def test_without_an_expected_interval_there_is_nothing_to_watch(template: Template) -> None:
    assert not template.find_resources("AWS::Events::Rule")
    assert not template.find_resources(
        "AWS::Lambda::Function", {"Properties": {"Handler": HANDLER}}
    )


def test_the_function_knows_each_channels_interval_and_the_topic_of_the_alarms(
    watching: Template,
) -> None:
    (topic,) = watching.find_resources("AWS::SNS::Topic")
    variables = function_of(watching, HANDLER)["Environment"]["Variables"]
    assert json.loads(variables["EXPECTED_SECONDS"]) == {"fast": 600, "slow": 7200}
    assert variables["TOPIC_ARN"] == {"Ref": topic}


def test_only_eventbridge_starts_it_every_hour(watching: Template) -> None:
    (rule,) = watching.find_resources("AWS::Events::Rule").values()
    (name,) = watching.find_resources("AWS::Lambda::Function", {"Properties": {"Handler": HANDLER}})
    assert rule["Properties"]["ScheduleExpression"] == "cron(10 * * * ? *)"
    (target,) = rule["Properties"]["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": [name, "Arn"]}
    # EventBridge's own event has the time.
    assert "Input" not in target
    (permission,) = watching.find_resources(
        "AWS::Lambda::Permission", {"Properties": {"FunctionName": target["Arn"]}}
    ).values()
    assert permission["Properties"]["Principal"] == "events.amazonaws.com"
    assert "SourceArn" in permission["Properties"]


def test_the_function_may_read_rows_keep_its_state_tell_and_nothing_else(
    watching: Template,
) -> None:
    function = function_of(watching, HANDLER)
    role, _ = role_of(watching, function["Role"])
    allowed = {
        action: {arn.partition("/")[2] or arn for arn in resources}
        for action, resources in allowed_to(watching, role).items()
    }
    states = {"silence/fast.json", "silence/slow.json"}
    (topic,) = watching.find_resources("AWS::SNS::Topic")
    assert allowed.pop("s3:GetObject") == {"parsed/fast/*", "parsed/slow/*"} | states
    assert allowed.pop("s3:PutObject") == states
    assert allowed.pop("sns:Publish") == {f"<{topic}>"}
    assert len(allowed.pop("s3:ListBucket")) == 1
    assert set(allowed) == {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert log_retention_of(watching, function) == 30


def test_it_may_list_the_prefixes_of_its_channels_only(watching: Template) -> None:
    role, _ = role_of(watching, function_of(watching, HANDLER)["Role"])
    (prefixes,) = (
        statement["Condition"]["StringLike"]["s3:prefix"]
        for policy in watching.find_resources("AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Properties"]["Roles"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:ListBucket"
    )
    assert sorted(prefixes) == [
        *("parsed/fast/*", "parsed/slow/*", "silence/fast.json", "silence/slow.json"),
    ]


def test_without_an_address_it_tells_its_log_only() -> None:
    template = stack_with({}, fast="10m")
    assert "TOPIC_ARN" not in function_of(template, HANDLER)["Environment"]["Variables"]
    role, _ = role_of(template, function_of(template, HANDLER)["Role"])
    assert "sns:Publish" not in allowed_to(template, role)
