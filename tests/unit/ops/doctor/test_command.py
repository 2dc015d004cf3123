"""ops.doctor: the command."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from device.errors import ExitStatus
from device.identity import PROJECT_ROOT
from ops.doctor import __main__ as command
from ops.doctor.__main__ import main
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed
from ops.doctor.stages import chosen


def test_an_unknown_environment_is_one_line() -> None:
    result = CliRunner().invoke(main, ["--env", "nope", "sensor-1"])
    assert result.exit_code == ExitStatus.ENVIRONMENT
    assert result.stdout == ""
    assert result.stderr.startswith("error: expected an environment of cdk.json (dev, ")
    assert result.stderr.count("\n") == 1


def test_the_command_explains_itself() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "ops.doctor", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT_ROOT,
    )
    assert found.stdout.startswith("Usage: python -m ops.doctor")


def test_the_help_has_examples_and_every_exit_status() -> None:
    help_text = CliRunner().invoke(main, ["-h"]).output
    assert "Examples:\n  python -m ops.doctor --env dev sensor-1\n" in help_text
    for stage in chosen(connect=True, send=True):
        assert f"\n  {int(stage.status)} " in help_text


def test_the_channel_is_telemetry_unless_told_otherwise() -> None:
    (option,) = (option for option in main.params if option.name == "channel")
    assert option.default == "telemetry"


@pytest.mark.parametrize("other", ["--send", "--take-over"])
def test_to_connect_and_not_to_connect_is_a_usage_error(other: str) -> None:
    result = CliRunner().invoke(main, ["--env", "local", "sensor-1", "--no-connect", other])
    assert result.exit_code == ExitStatus.USAGE
    assert f"expected --no-connect or {other}, got both" in result.stderr


@pytest.fixture
def one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stage, whose check fails on what a device has sent."""

    def check(_: Context) -> str:
        raise Failed("the broker said \x1b[2J", "run \x9b1m")

    made = (Stage("broker", ExitStatus.CONNECTION_REFUSED, {"connect": check}),)
    monkeypatch.setattr(command, "chosen", lambda **_: made)


def test_colours_are_for_terminals_that_want_them(
    one_failure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def output(*, color: bool) -> str:
        return CliRunner().invoke(main, ["--env", "local", "sensor-1"], color=color).output

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mfailed" in output(color=True)
    assert "\x1b" not in output(color=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in output(color=True)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_character_of_a_broker_controls_the_terminal(form: str, one_failure: None) -> None:
    result = CliRunner().invoke(main, ["--env", "local", "sensor-1", "--format", form])
    assert result.exit_code == ExitStatus.CONNECTION_REFUSED
    assert all(character.isprintable() or character == "\n" for character in result.output)


def test_a_failure_is_repeated_at_the_end_with_its_remedy(one_failure: None) -> None:
    lines = CliRunner().invoke(main, ["--env", "local", "sensor-1"]).output.splitlines()
    assert lines[0] == "failed   broker · connect: the broker said \\x1b[2J"
    assert lines[1].strip() == "→ run \\x9b1m"
    assert lines[-3] == "1 check, 1 failed, 0 skipped:"
    assert lines[-2:] == [f"  {lines[0].removeprefix('failed   ')}", lines[1]]
