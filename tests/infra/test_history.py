"""What History and RebuildFunction promise: which hours, which retries, and what they may do."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk.assertions import Template

from stacks.config import EnvironmentConfig
from tests.infra.conftest import CONTEXT
from tests.infra.templates import allowed_to, flat, function_of, log_retention_of, role_of, trust_of

Resources = Callable[[Template, str], list[dict[str, Any]]]

MACHINE, SCHEDULE = "AWS::StepFunctions::StateMachine", "AWS::Scheduler::Schedule"


def rebuild_of(template: Template) -> dict[str, Any]:
    return function_of(template, "telemetry_rebuild.handler.handler")


def definition_of(template: Template, resources: Resources) -> dict[str, Any]:
    (machine,) = resources(template, MACHINE)
    states: dict[str, Any] = json.loads(flat(machine["DefinitionString"]))["States"]
    return states


def test_the_function_is_as_the_parser_is_and_has_the_most_time_and_disk(
    template: Template,
) -> None:
    function = rebuild_of(template)
    assert function["Architectures"] == ["arm64"]
    assert function["Runtime"] == "python3.14"
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert log_retention_of(template, function) == 30
    assert function["Timeout"] == 900
    assert function["EphemeralStorage"] == {"Size": 10240}


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_function_knows_the_retention_and_leaves_memory_for_all_but_the_sort(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    function = rebuild_of(template_of(environment))
    variables = function["Environment"]["Variables"]
    days = CONTEXT["environments"][environment].get("daily_retention_days", 1095)
    assert variables["DAILY_RETENTION_DAYS"] == str(days)
    assert int(variables["SORT_MEMORY_MEBIBYTES"]) + 512 <= function["MemorySize"]
    assert variables["SORT_THREADS"] == "1"


def test_the_function_may_do_only_what_it_does_and_only_on_the_channels(template: Template) -> None:
    role = rebuild_of(template)["Role"]["Fn::GetAtt"][0]
    suffixes = {
        action: {arn.partition(">")[2] for arn in arns}
        for action, arns in allowed_to(template, role).items()
    }
    assert suffixes == {
        "s3:ListBucket": {""},
        "s3:GetObject": {"/raw/telemetry/*", "/manifests/telemetry/*"},
        "s3:PutObject": {"/daily/telemetry/*", "/manifests/telemetry/*"},
        "s3:DeleteObject": {"/daily/telemetry/*"},
        "logs:CreateLogStream": {""},
        "logs:PutLogEvents": {""},
        "xray:PutTraceSegments": {""},
        "xray:PutTelemetryRecords": {""},
    }


def test_the_function_lists_its_own_prefixes_only(template: Template, resources: Resources) -> None:
    conditions = [
        statement["Condition"]["StringLike"]["s3:prefix"]
        for policy in resources(template, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:ListBucket"
    ]
    assert conditions == [["raw/telemetry/*"], ["manifests/telemetry/*"]]


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_the_map_keeps_to_the_environments_concurrency_and_tolerance(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    config = EnvironmentConfig(**CONTEXT["environments"][environment], name=environment)
    each = definition_of(template_of(environment), resources)["EachHour"]
    assert each["ItemProcessor"]["ProcessorConfig"] == {
        "Mode": "DISTRIBUTED",
        "ExecutionType": "STANDARD",
    }
    assert each["MaxConcurrency"] == config.rebuild_maximum_concurrency
    assert each["ToleratedFailurePercentage"] == config.rebuild_tolerated_failure_percentage


def test_an_hour_is_tried_again_whatever_the_error_and_then_counted_as_failed(
    template: Template, resources: Resources
) -> None:
    each = definition_of(template, resources)["EachHour"]
    states = each["ItemProcessor"]["States"]
    (retry,) = states["RebuildHour"]["Retry"]
    assert retry["ErrorEquals"] == ["States.ALL"]
    assert retry["MaxAttempts"] >= 3
    assert retry["BackoffRate"] > 1
    (catch,) = states["RebuildHour"]["Catch"]
    assert (catch["ErrorEquals"], catch["Next"]) == (["States.ALL"], "CountFailure")
    assert states["CountFailure"]["Resource"].endswith("aws-sdk:cloudwatch:putMetricData")
    assert states[states["CountFailure"]["Next"]]["Type"] == "Fail"


def test_a_failed_hour_is_counted_where_the_alarm_looks(
    template: Template, resources: Resources
) -> None:
    each = definition_of(template, resources)["EachHour"]
    counted = each["ItemProcessor"]["States"]["CountFailure"]["Parameters"]
    (datum,) = counted["MetricData"]
    (alarm,) = (
        alarm
        for alarm in resources(template, "AWS::CloudWatch::Alarm")
        if alarm.get("MetricName") == "HoursFailed"
    )
    assert (counted["Namespace"], datum["MetricName"], datum["Dimensions"]) == (
        alarm["Namespace"],
        alarm["MetricName"],
        alarm["Dimensions"],
    )


def test_the_machine_is_standard_traced_and_logged_for_a_month(
    template: Template, resources: Resources
) -> None:
    (machine,) = resources(template, MACHINE)
    assert machine["StateMachineType"] == "STANDARD"
    assert machine["TracingConfiguration"] == {"Enabled": True}
    logging = machine["LoggingConfiguration"]
    assert logging["Level"] == "ALL"
    (destination,) = logging["Destinations"]
    group = destination["CloudWatchLogsLogGroup"]["LogGroupArn"]["Fn::GetAtt"][0]
    assert (
        template.find_resources("AWS::Logs::LogGroup")[group]["Properties"]["RetentionInDays"] == 30
    )


def test_the_machine_may_do_only_what_it_does(template: Template, resources: Resources) -> None:
    (machine,) = resources(template, MACHINE)
    role, _ = role_of(template, machine["RoleArn"])
    (machine_id,) = template.find_resources(MACHINE)
    (function_id,) = template.find_resources(
        "AWS::Lambda::Function", {"Properties": {"Handler": "telemetry_rebuild.handler.handler"}}
    )
    allowed = allowed_to(template, role)
    everywhere = {action for action, resources in allowed.items() if resources == {"*"}}
    assert {action.partition(":")[0] for action in everywhere} == {"cloudwatch", "logs", "xray"}
    assert {action: arns for action, arns in allowed.items() if action not in everywhere} == {
        "lambda:InvokeFunction": {f"<{function_id}.Arn>"},
        "states:StartExecution": {f"<{machine_id}>"},
        "states:DescribeExecution": allowed["states:DescribeExecution"],
        "states:RedriveExecution": allowed["states:RedriveExecution"],
    }
    for action, suffix in (("DescribeExecution", ":*"), ("RedriveExecution", "/Hours:*")):
        (arn,) = allowed[f"states:{action}"]
        assert arn.endswith(f":execution:<{machine_id}.Name>{suffix}")


def test_the_machine_may_write_metrics_of_its_own_environment_only(
    template: Template, resources: Resources
) -> None:
    (condition,) = (
        statement["Condition"]
        for policy in resources(template, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] == "cloudwatch:PutMetricData"
    )
    variables = rebuild_of(template)["Environment"]["Variables"]
    namespace = variables["POWERTOOLS_METRICS_NAMESPACE"]
    assert condition == {"StringEquals": {"cloudwatch:namespace": namespace}}


def test_every_night_the_machine_is_started_for_the_last_two_days(
    template: Template, resources: Resources
) -> None:
    (schedule,) = resources(template, SCHEDULE)
    (machine_id,) = template.find_resources(MACHINE)
    assert schedule["ScheduleExpression"] == "cron(15 1 * * ? *)"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["Target"]["Arn"] == {"Ref": machine_id}
    assert schedule["Target"]["Input"] == "{}", "two days are what an empty input means"
    role, _ = role_of(template, schedule["Target"]["RoleArn"])
    assert allowed_to(template, role) == {"states:StartExecution": {f"<{machine_id}>"}}


@pytest.mark.parametrize(
    ("type_", "service"),
    [(MACHINE, "states.amazonaws.com"), (SCHEDULE, "scheduler.amazonaws.com")],
)
def test_each_role_is_for_its_service_on_behalf_of_this_account(
    type_: str, service: str, template: Template, resources: Resources
) -> None:
    (resource,) = resources(template, type_)
    role = resource["RoleArn"] if type_ == MACHINE else resource["Target"]["RoleArn"]
    trust = trust_of(template, role)
    assert trust["Principal"] == {"Service": service}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert "aws:SourceArn" in trust["Condition"]["ArnLike"]
