"""ops.cost reads the template of every environment."""

import os
import re
from collections.abc import Callable

import pytest
from aws_cdk.assertions import Template
from click.testing import CliRunner

import contracts
from ops.cost import bill
from ops.cost.__main__ import main
from ops.cost.deployment import read
from ops.cost.traffic import Load, Measurement
from stacks.pipeline_stack import PipelineStack
from tests.infra.conftest import CONTEXT, ENVIRONMENTS, ROOT


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_bill_has_the_settings_of_the_environment(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    template = template_of(environment)
    found = read(template.to_json(), environment, "telemetry")
    settings = CONTEXT["environments"][environment]
    assert found.buffering_seconds == settings.get("buffering_interval_seconds", 60)
    # S3 keeps an expired object for 30 more days, as an old version.
    assert found.raw_days == settings.get("raw_retention_days", 365) + 30
    assert found.parsed_days == settings.get("parsed_retention_days", 35) + 30
    assert found.daily_days == settings.get("daily_retention_days", 1095) + 30
    assert found.parser.memory_gb == settings.get("parser_memory_mebibytes", 1769) / 1024
    assert found.alarm_metrics >= len(template.find_resources("AWS::CloudWatch::Alarm")) > 0
    assert found.log_days == 30
    assert f"$to - {found.nightly_hours};" in str(
        template.find_resources("AWS::StepFunctions::StateMachine")
    )


def test_the_docs_have_the_bill_of_dev(template_of: Callable[[str], Template]) -> None:
    found = read(template_of("dev").to_json(), "dev", "telemetry")
    contract = contracts.load("telemetry")
    measurement = Measurement(
        "dev",
        contract,
        Load(1_000, 60, None, 900),
        buffering_seconds=found.buffering_seconds,
        buffering_bytes=found.buffering_bytes,
    )
    ways = (
        measurement.packed(),
        measurement.single(basic_ingest=True),
        measurement.single(basic_ingest=False),
    )
    totals = [sum(item.usd for item in bill.items(found, way, 1_000)) for way in ways]
    page = (ROOT / "docs" / "operations.md").read_text()
    (row,) = re.findall(r"^\| total \|(.*)\|$", page, flags=re.MULTILINE)
    # Each alarm costs ten cents, so the docs round.
    assert [float(cell) for cell in row.split("|")] == pytest.approx(totals, abs=1.0)


def test_the_watch_for_silent_devices_is_on_the_bill_once_a_contract_asks_for_it(
    watched: PipelineStack, template_of: Callable[[str], Template]
) -> None:
    assert read(Template.from_stack(watched).to_json(), "dev", "telemetry").silence is not None
    assert read(template_of("dev").to_json(), "dev", "telemetry").silence is None


def test_the_command_synthesizes_the_stack_without_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    load = ["--devices", "10", "--interval", "60"]
    result = CliRunner().invoke(main, ["--env", "prod", *load], catch_exceptions=False)
    assert result.exit_code == 0
    assert "total" in result.stdout
    assert "synthesizing" not in result.stdout
