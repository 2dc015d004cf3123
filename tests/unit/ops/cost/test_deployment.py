"""ops.cost: what the template says, and templates that say nothing."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.cost.deployment import FunctionSettings, TemplateError, load, read, synthesize
from tests.unit.ops.cost.templates import template


def test_reads_the_settings_of_the_channel() -> None:
    found = read(template(("telemetry", "events")), "dev", "events")
    assert (found.buffering_seconds, found.buffering_bytes) == (60, 64 * 1024**2)
    assert (found.rules, found.channels, found.pollers, found.actions) == (2, 2, 2, 1)
    assert found.parser == FunctionSettings(1.0, 0.0)
    assert found.rebuild == FunctionSettings(2.0, 9.5)
    assert (found.raw_days, found.parsed_days, found.daily_days) == (90, 60, 120)


def test_each_function_is_found_by_its_own_handler() -> None:
    more = template()
    silence = {"Handler": "telemetry_rebuild.silence_handler.handler", "MemorySize": 512}
    first = {"Silence": {"Type": "AWS::Lambda::Function", "Properties": silence}}
    found = read({**more, "Resources": {**first, **more["Resources"]}}, "dev", "telemetry")
    assert found.silence == FunctionSettings(0.5, 0.0)
    assert found.rebuild == FunctionSettings(2.0, 9.5)
    assert read(more, "dev", "telemetry").silence is None


def test_an_alarm_counts_each_metric_of_its_expression() -> None:
    assert read(template(), "dev", "telemetry").alarm_metrics == 1 + 2


@pytest.mark.parametrize(
    ("environment", "channel"), [("prod", "telemetry"), ("dev", "events"), ("dev", "")]
)
def test_the_template_of_another_environment_or_without_the_channel_is_refused(
    environment: str, channel: str
) -> None:
    with pytest.raises(TemplateError, match=f"make synth ENV={environment}"):
        read(template(), environment, channel)


@pytest.mark.parametrize("missing", sorted(set(template()["Resources"]) - {"Other", "Board"}))
def test_a_template_without_a_part_is_refused_or_read_without_it(missing: str) -> None:
    broken = template()
    del broken["Resources"][missing]
    if missing in {"Alarm", "MathAlarm", "telemetryMapping"}:
        assert read(broken, "dev", "telemetry")
    else:
        with pytest.raises(TemplateError, match="expected the template of environment dev"):
            read(broken, "dev", "telemetry")


@pytest.mark.parametrize("properties", [None, [], "x", {"LifecycleConfiguration": {}}, {}])
def test_a_bucket_of_another_form_is_refused(properties: Any) -> None:
    broken = template()
    broken["Resources"]["Raw"]["Properties"] = properties
    with pytest.raises(TemplateError):
        read(broken, "dev", "telemetry")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"Resources": []}', "{" * 100_000, "\x00", '"Resources"']
)
def test_a_file_that_is_not_a_template_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(TemplateError, match="expected a synthesized template") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_with_a_template_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(template()))
    assert load(path) == template()


def test_a_failed_synthesis_is_the_last_line_of_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        said = "Traceback\nerror: cdk.json: environments.dev.x: unknown key\n\nsubprocess failed\n"
        return subprocess.CompletedProcess([], 1, "", said)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(TemplateError, match=r"cdk synth failed: cdk\.json: .*unknown key"):
        synthesize("dev")
