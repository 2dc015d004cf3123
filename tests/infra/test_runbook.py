"""Each alarm leads to its section of the runbook, and each way to fail to its alarms."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk.assertions import Template
from aws_cdk.aws_cloudwatch import CfnAlarm

from stacks.pipeline_stack import PipelineStack
from tests.infra.conftest import ROOT

DESIGN = (ROOT / "docs" / "design.md").read_text()
# Section title -> its text. Parts of the page have two '#', sections three.
SECTIONS = dict(
    re.findall(
        r"^### (\w+)$(.*?)(?=^##|\Z)",
        (ROOT / "docs" / "runbook.md").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
)
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
MAX_DESCRIPTION = 1024
LONGEST_CHANNEL = 32


@pytest.fixture
def every_alarm(watched: PipelineStack) -> dict[str, dict[str, Any]]:
    """Construct id -> properties, of a stack that has every alarm there is."""
    names = {
        watched.get_logical_id(element): construct.node.id
        for construct in watched.node.find_all()
        if isinstance(element := construct.node.default_child, CfnAlarm)
    }
    found = Template.from_stack(watched).find_resources("AWS::CloudWatch::Alarm")
    return {names[logical_id]: alarm["Properties"] for logical_id, alarm in found.items()}


def failures() -> dict[str, str]:
    """What fails -> the cell with its alarms, from the table in the design."""
    table = DESIGN.partition("## Failure, hop by hop")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert rows[0][0] == "what fails"
    return {row[0]: row[3] for row in rows[1:]}


def test_every_alarm_has_its_section_and_every_section_its_alarm(
    every_alarm: dict[str, dict[str, Any]],
) -> None:
    assert set(SECTIONS) == set(every_alarm)


def test_the_mail_of_an_alarm_names_subject_hop_meaning_and_section(
    every_alarm: dict[str, dict[str, Any]],
) -> None:
    for name, alarm in every_alarm.items():
        description = alarm["AlarmDescription"]
        subject_and_hop = r"(telemetry|History|Provisioning|SilentDevices), [\w ]+ to [\w ]+"
        section = rf"docs/runbook\.md#{name.lower()}"
        assert re.fullmatch(rf"{subject_and_hop}: .+\. See {section}", description), description


def test_a_description_is_short_enough_for_the_longest_name_of_a_channel(
    every_alarm: dict[str, dict[str, Any]],
) -> None:
    for alarm in every_alarm.values():
        longest = alarm["AlarmDescription"].replace("telemetry", "c" * LONGEST_CHANNEL)
        assert len(longest) <= MAX_DESCRIPTION


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_meaning_risk_and_the_commands_that_show_more_and_fix_it(name: str) -> None:
    _, *parts = re.split(r"^- \*\*(\w[\w ]*)\*\*:", SECTIONS[name], flags=re.MULTILINE)
    assert parts[::2] == ["Meaning", "At risk", "More", "Fix"]
    for part in (parts[5], parts[7]):
        assert "```sh\n" in part


def test_every_way_to_fail_has_alarms_or_a_reason_why_none(
    every_alarm: dict[str, dict[str, Any]],
) -> None:
    named = set()
    for what, cell in failures().items():
        alarms = set(re.findall(r"\[(\w+)\]\(runbook\.md#\w+\)", cell))
        assert alarms or re.match(r"none: \w+ \w+", cell), what
        named |= alarms
    assert named == set(every_alarm)


def test_every_environment_has_every_alarm_that_it_can_have(
    every_alarm: dict[str, dict[str, Any]],
    template_of: Callable[[str], Template],
) -> None:
    # Silence and WatchFailed need configuration, and the emulator cannot compare metrics.
    for environment, missing in (("dev", 2), ("stage", 2), ("prod", 2), ("local", 3)):
        alarms = template_of(environment).find_resources("AWS::CloudWatch::Alarm")
        assert len(alarms) == len(every_alarm) - missing
