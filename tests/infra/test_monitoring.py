"""Which alarms there are, when they are raised, and that they reach somebody."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Template

from stacks.config import ConfigError
from stacks.constructs.monitoring import Monitoring
from stacks.pipeline_stack import PipelineStack
from tests.infra.conftest import stack_of_block
from tests.infra.templates import function_of, listed
from tests.infra.test_pipeline_stack import template_with

Resources = Callable[[Template, str], list[dict[str, Any]]]

NOT_REBUILT = ("AWS/States", "ExecutionsSucceeded")
INTERVALS = {"dev": 60, "stage": 60, "prod": 60, "local": 1}


def referenced(template: Template, type_: str, handler: str | None = None) -> set[str]:
    """Logical ids of the resources of a type, of functions those with ``handler``."""
    properties = {"Properties": {"Handler": handler}} if handler else {}
    return set(template.find_resources(type_, properties))


def alarms_of(template: Template, resources: Resources) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (alarm["Namespace"], alarm["MetricName"]): alarm
        for alarm in resources(template, "AWS::CloudWatch::Alarm")
        if "MetricName" in alarm
    }


@pytest.mark.parametrize("environment", INTERVALS)
def test_each_way_to_lose_data_has_an_alarm_with_its_limit(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    alarms = alarms_of(template_of(environment), resources)
    assert {key: (alarm["Statistic"], alarm["Threshold"]) for key, alarm in alarms.items()} == {
        ("AWS/IoT", "RuleNotFound"): ("Sum", 0),
        ("AWS/IoT", "RuleMessageThrottled"): ("Sum", 0),
        ("AWS/IoT", "Failure"): ("Sum", 0),
        ("AWS/IoT", "ErrorActionFailure"): ("Sum", 0),
        ("AWS/IoT", "RegisterThingFailed"): ("Sum", 0),
        ("AWS/Firehose", "ThrottledRecords"): ("Sum", 0),
        ("AWS/Firehose", "DeliveryToS3.DataFreshness"): ("Maximum", INTERVALS[environment] + 600),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"): ("Maximum", 900),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): ("Maximum", 0),
        ("AWS/Lambda", "Errors"): ("Sum", 0),
        (f"telemetry-{environment}", "ObjectsFailed"): ("Sum", 0),
        (f"telemetry-{environment}", "ReadingsRejectedPercent"): ("Average", 5),
        (f"telemetry-{environment}", "UnknownFields"): ("Maximum", 0),
        (f"telemetry-{environment}", "HoursFailed"): ("Sum", 0),
        (f"telemetry-{environment}", "ObjectsSkipped"): ("Sum", 0),
        ("AWS/States", "ExecutionsFailed"): ("Sum", 0),
        ("AWS/States", "ExecutionsTimedOut"): ("Sum", 0),
        NOT_REBUILT: ("Sum", 1),
    }
    for key, alarm in alarms.items():
        conditions = [alarm[name] for name in ("ComparisonOperator", "Period", "TreatMissingData")]
        assert conditions == (
            # A schedule that does not start anything writes no metric.
            ["LessThanThreshold", 24 * 3600, "breaching"]
            if key == NOT_REBUILT
            else ["GreaterThanThreshold", 300, "notBreaching"]
        )
        assert alarm["EvaluationPeriods"] == 1
        assert alarm["AlarmDescription"].count(". ") >= 1, "what it means, and what is at risk"


@pytest.mark.parametrize("environment", INTERVALS)
def test_each_alarm_watches_its_own_environment_and_channel(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    template = template_of(environment)
    rule = f"{environment}_telemetry"
    (source,) = (
        name
        for name, queue in template.find_resources("AWS::SQS::Queue").items()
        if "RedrivePolicy" in queue["Properties"]
    )
    (dead,) = referenced(template, "AWS::SQS::Queue") - {source}
    (stream,) = referenced(template, "AWS::KinesisFirehose::DeliveryStream")
    (function,) = referenced(template, "AWS::Lambda::Function", "telemetry_parser.handler.handler")
    (machine,) = referenced(template, "AWS::StepFunctions::StateMachine")
    watched = {
        metric: {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
        for (_, metric), alarm in alarms_of(template, resources).items()
    }
    assert watched == {
        "RuleNotFound": {"RuleName": rule},
        "RuleMessageThrottled": {"RuleName": rule},
        "Failure": {"RuleName": rule, "ActionType": "Firehose"},
        "ErrorActionFailure": {"RuleName": rule, "ActionType": "S3"},
        "RegisterThingFailed": {"TemplateName": f"{environment}_devices"},
        "ThrottledRecords": {"DeliveryStreamName": {"Ref": stream}},
        "DeliveryToS3.DataFreshness": {"DeliveryStreamName": {"Ref": stream}},
        "ApproximateAgeOfOldestMessage": {"QueueName": {"Fn::GetAtt": [source, "QueueName"]}},
        "ApproximateNumberOfMessagesVisible": {"QueueName": {"Fn::GetAtt": [dead, "QueueName"]}},
        "Errors": {"FunctionName": {"Ref": function}},
        "ObjectsFailed": {"service": "parser-telemetry"},
        "ReadingsRejectedPercent": {"service": "parser-telemetry"},
        "UnknownFields": {"service": "parser-telemetry"},
        "HoursFailed": {"service": "rebuild"},
        "ObjectsSkipped": {"service": "rebuild"},
        "ExecutionsFailed": {"StateMachineArn": {"Ref": machine}},
        "ExecutionsTimedOut": {"StateMachineArn": {"Ref": machine}},
        "ExecutionsSucceeded": {"StateMachineArn": {"Ref": machine}},
    }


@pytest.mark.parametrize(
    ("handler", "metric"),
    [
        ("telemetry_parser.handler.handler", "ObjectsFailed"),
        ("telemetry_rebuild.handler.handler", "ObjectsSkipped"),
    ],
)
def test_a_function_writes_its_metrics_where_the_alarms_look(
    handler: str, metric: str, template: Template, resources: Resources
) -> None:
    variables = function_of(template, handler)["Environment"]["Variables"]
    key = (variables["POWERTOOLS_METRICS_NAMESPACE"], metric)
    (dimension,) = alarms_of(template, resources)[key]["Dimensions"]
    assert dimension == {"Name": "service", "Value": variables["POWERTOOLS_SERVICE_NAME"]}


@pytest.mark.parametrize("environment", ["dev", "stage", "prod"])
def test_delivery_without_parsing_is_an_alarm_after_two_hours(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    template = template_of(environment)
    (alarm,) = (
        alarm for alarm in resources(template, "AWS::CloudWatch::Alarm") if "Metrics" in alarm
    )
    (stream,) = referenced(template, "AWS::KinesisFirehose::DeliveryStream")
    metrics = {query["Id"]: query for query in alarm["Metrics"]}
    assert {
        name: (
            query["MetricStat"]["Metric"]["MetricName"],
            query["MetricStat"]["Metric"]["Dimensions"][0]["Value"],
            query["MetricStat"]["Stat"],
            query["MetricStat"]["Period"],
        )
        for name, query in metrics.items()
        if "MetricStat" in query
    } == {
        "delivered": ("DeliveryToS3.Records", {"Ref": stream}, "Sum", 3600),
        "parsed": ("ParseDuration", "parser-telemetry", "SampleCount", 3600),
    }
    (expression,) = (query["Expression"] for query in metrics.values() if "Expression" in query)
    assert expression == "IF(FILL(delivered, 0) > 0 AND FILL(parsed, 0) < 1, 1, 0)"
    assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 2)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"


def test_a_channel_without_a_message_for_the_configured_time_is_an_alarm(
    watched: PipelineStack, resources: Resources
) -> None:
    alarms = alarms_of(Template.from_stack(watched), resources)
    alarm = alarms["AWS/Firehose", "IncomingRecords"]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["Period"]) == ("Sum", 1, 1800)
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == (
        *("LessThanThreshold", "breaching"),
    )
    assert "No message arrived for 30 minutes" in alarm["AlarmDescription"]


def test_a_silence_alarm_for_an_unknown_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"silence_alarm_minutes.telemtry: unknown channel"):
        stack_of_block("dev", {"silence_alarm_minutes": {"telemtry": 30}})


def test_a_channel_may_have_the_name_of_another_part(resources: Resources) -> None:
    alarms = resources(template_with({}, "history", "provisioning"), "AWS::CloudWatch::Alarm")
    subjects = {alarm["AlarmDescription"].partition(",")[0] for alarm in alarms}
    assert subjects == {"history", "History", "provisioning", "Provisioning"}


@pytest.fixture
def mailing() -> Template:
    stack = Stack(App(), "Stack")
    monitoring = Monitoring(stack, "Monitoring", alarm_email="ops@example.com", metric_math=True)
    monitoring.watch_provisioning("devices")
    return Template.from_stack(stack)


def test_alarms_go_to_the_address_that_is_configured(
    mailing: Template, resources: Resources
) -> None:
    (topic,) = mailing.find_resources("AWS::SNS::Topic")
    mailing.has_resource_properties(
        "AWS::SNS::Subscription",
        {"Protocol": "email", "Endpoint": "ops@example.com", "TopicArn": {"Ref": topic}},
    )
    alarms = resources(mailing, "AWS::CloudWatch::Alarm")
    assert [alarm["AlarmActions"] for alarm in alarms] == [[{"Ref": topic}]]


def may_publish(template: Template, service: str, *, account: str, tls: bool) -> bool:
    """Evaluate the topic's policy as IAM does: one Allow must match, and no Deny."""
    (topic,) = template.find_resources("AWS::SNS::Topic")
    (policy,) = template.find_resources("AWS::SNS::TopicPolicy").values()
    assert policy["Properties"]["Topics"] == [{"Ref": topic}]
    request = {"aws:SourceAccount": account, "aws:SecureTransport": str(tls).lower()}
    effects = {
        statement["Effect"]
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "sns:Publish" in listed(statement["Action"])
        and statement["Principal"] in ("*", {"AWS": "*"}, {"Service": service})
        and {"Ref": topic} in listed(statement["Resource"])
        and holds(statement.get("Condition", {}), request)
    }
    return effects == {"Allow"}


def holds(condition: Mapping[str, Mapping[str, Any]], request: Mapping[str, str]) -> bool:
    assert condition.keys() <= {"Bool", "StringEquals"}, "not evaluated here"
    return all(
        request[key] == ("this account" if value == {"Ref": "AWS::AccountId"} else value)
        for operands in condition.values()
        for key, value in operands.items()
    )


@pytest.mark.parametrize(
    ("service", "account", "tls", "allowed"),
    [
        pytest.param("cloudwatch", "this account", True, True, id="CloudWatch of this account"),
        pytest.param("cloudwatch", "another", True, False, id="CloudWatch of another account"),
        pytest.param("cloudwatch", "this account", False, False, id="CloudWatch over plain HTTP"),
        pytest.param("s3", "this account", True, False, id="another service"),
    ],
)
def test_who_may_publish_alarms(
    service: str, account: str, tls: bool, allowed: bool, mailing: Template
) -> None:
    assert may_publish(mailing, f"{service}.amazonaws.com", account=account, tls=tls) is allowed


def test_without_an_address_alarms_are_only_shown(template: Template, resources: Resources) -> None:
    assert not resources(template, "AWS::SNS::Topic")
    alarms = resources(template, "AWS::CloudWatch::Alarm")
    assert alarms
    assert not [alarm for alarm in alarms if "AlarmActions" in alarm]
