"""The dashboard: what it shows in which order, and that AWS accepts it."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk.assertions import Template

from contracts import names
from stacks.constructs.device_access import DeviceAccess, DevicePolicyError
from stacks.pipeline_stack import PipelineStack
from tests.infra.conftest import ENVIRONMENTS, ROOT
from tests.infra.templates import flat
from tests.infra.test_pipeline_stack import template_with

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html
MAX_WIDGETS, MAX_ALARMS, MAX_METRICS_PER_WIDGET, MAX_METRICS = 500, 100, 500, 2500
COLUMNS = 24
HOPS = ["devices", "rule", "Firehose", "raw bucket", "queue", "parser", "tables", "tables"]


def dashboard_of(template: Template) -> tuple[str, list[dict[str, Any]]]:
    """Name and widgets; references appear as ``<LogicalId>``."""
    (found,) = template.find_resources("AWS::CloudWatch::Dashboard").values()
    properties = found["Properties"]
    body = json.loads(flat(properties["DashboardBody"]))
    return flat(properties["DashboardName"]), body["widgets"]


def metrics_of(widget: dict[str, Any]) -> list[list[Any]]:
    return list(widget["properties"].get("metrics", []))


def numbers_of(widgets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in widgets if one["properties"].get("view") == "singleValue"]


def test_a_number_per_hop_follows_the_data_from_left_to_right(template: Template) -> None:
    numbers = numbers_of(dashboard_of(template)[1])
    assert len({number["y"] for number in numbers}) == 1
    across = sorted(numbers, key=lambda number: int(number["x"]))
    assert [number["properties"]["title"].partition(":")[0] for number in across] == HOPS
    assert sum(number["width"] for number in across) == COLUMNS


def test_the_numbers_are_those_of_their_hop(template_of: Callable[[str], Template]) -> None:
    widgets = dashboard_of(template_of("prod"))[1]
    shown = [tuple(metrics_of(number)[0][:2]) for number in numbers_of(widgets)]
    assert shown == [
        ("AWS/IoT", "TopicMatch"),
        ("AWS/IoT", "Success"),
        ("AWS/Firehose", "IncomingRecords"),
        ("AWS/Firehose", "DeliveryToS3.Records"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("telemetry-prod", "ParseDuration"),
        ("telemetry-prod", "ReadingsParsed"),
        ("telemetry-prod", "ReadingsRejected"),
    ]


def test_a_number_is_over_the_whole_time_that_is_chosen(template: Template) -> None:
    for number in numbers_of(dashboard_of(template)[1]):
        assert number["properties"]["setPeriodToTimeRange"] is True


def test_no_widget_covers_another(template: Template) -> None:
    taken = [
        (x, y)
        for widget in dashboard_of(template)[1]
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < COLUMNS


def test_every_alarm_is_on_the_dashboard(watched: PipelineStack) -> None:
    template = Template.from_stack(watched)
    shown = [
        alarm
        for widget in dashboard_of(template)[1]
        for alarm in widget["properties"].get("alarms", [])
    ]
    alarms = template.find_resources("AWS::CloudWatch::Alarm")
    assert sorted(shown) == sorted(f"<{name}.Arn>" for name in alarms)


def test_every_metric_of_an_alarm_can_be_seen_in_a_graph_or_the_alarm_says_when(
    template: Template,
) -> None:
    shown = {
        tuple(metric[:2]) for widget in dashboard_of(template)[1] for metric in metrics_of(widget)
    }
    alarms = template.find_resources("AWS::CloudWatch::Alarm").values()
    watched = {
        (alarm["Properties"]["Namespace"], alarm["Properties"]["MetricName"])
        for alarm in alarms
        if "MetricName" in alarm["Properties"]
    }
    # A share, and two that are rare: their alarms are on the dashboard.
    assert {name for _, name in watched - shown} == {
        *("ReadingsRejectedPercent", "UnknownFields", "RegisterThingFailed"),
    }


def test_the_metrics_of_our_own_are_some_that_the_functions_write(template: Template) -> None:
    # tests/unit/parser and tests/unit/rebuild check their values.
    writers = "".join(
        (ROOT / path).read_text()
        for path in (
            "lambda/parser/telemetry_parser/report.py",
            "lambda/rebuild/telemetry_rebuild/report.py",
            "stacks/pipeline_stack.py",  # the state machine counts HoursFailed
        )
    )
    own = {
        metric[1]
        for widget in dashboard_of(template)[1]
        for metric in metrics_of(widget)
        if metric[0].startswith("telemetry-")
    }
    assert {"ReadingsParsed", "RowsWritten", "HoursFailed"} <= own
    assert [name for name in own if f'"{name}"' not in writers] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environments_of_one_account_have_dashboards_of_their_own(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    name = dashboard_of(template_of(environment))[0]
    assert name.startswith(f"{names.stack_name(environment)}-")


def most_channels() -> list[str]:
    channels: list[str] = []
    with contextlib.suppress(DevicePolicyError):
        while True:
            more = [*channels, f"c{len(channels)}"]
            DeviceAccess(Stack(), "DeviceAccess", environment="dev", channels=more)
            channels = more
    return channels


def test_with_as_many_channels_as_the_device_policy_can_name_aws_accepts_the_dashboard() -> None:
    channels = most_channels()
    widgets = dashboard_of(template_with({}, *channels))[1]
    assert len(numbers_of(widgets)) == len(HOPS) * len(channels)
    assert len(widgets) <= MAX_WIDGETS
    assert max(len(widget["properties"].get("alarms", [])) for widget in widgets) <= MAX_ALARMS
    counts = [len(metrics_of(widget)) for widget in widgets]
    assert max(counts) <= MAX_METRICS_PER_WIDGET
    assert sum(counts) <= MAX_METRICS
