"""ops.cost reads the template of every environment."""

import os
from collections.abc import Callable

import pytest
from aws_cdk.assertions import Template
from click.testing import CliRunner

from ops.cost.__main__ import main
from ops.cost.deployment import read
from tests.infra.conftest import CONTEXT, ENVIRONMENTS


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
