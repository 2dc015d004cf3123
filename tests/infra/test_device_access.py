"""What AWS IoT logs about the devices of one environment."""

from aws_cdk.assertions import Match, Template

from contracts import names
from tests.infra.test_pipeline_stack import template_with

LEVEL = "AWS::IoT::ResourceSpecificLogging"


def test_the_log_level_is_that_of_the_things_of_its_environment_only() -> None:
    template = template_with({"iot_log_level": "INFO"}, "telemetry", environment="dev")
    template.has_resource(
        LEVEL,
        {
            "Properties": {
                "TargetType": "THING_GROUP",
                "TargetName": names.thing_group_name("dev"),
                "LogLevel": "INFO",
            },
            "DependsOn": Match.array_with([*template.find_resources("AWS::IoT::ThingGroup")]),
        },
    )


def test_the_switch_of_the_account_belongs_to_no_environment() -> None:
    template = template_with({"iot_log_level": "DISABLED"}, "telemetry")
    assert not template.find_resources("AWS::IoT::Logging")


def test_without_a_log_level_the_account_decides(template: Template) -> None:
    assert not template.find_resources(LEVEL)
