"""When the checks at synthesis run again, and what is remembered of a result that passed."""

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from aws_cdk import Annotations, App, Stack
from aws_cdk import aws_sns as sns

from stacks import checks
from stacks.helpers.acknowledgements import acknowledge
from tests.infra.conftest import ROOT

_RULE = "AwsSolutions-SNS3"


def insecure(app: App) -> None:
    sns.Topic(Stack(app, "Stack"), "Topic")


def acknowledged(app: App) -> None:
    topic = sns.Topic(Stack(app, "Stack"), "Topic")
    acknowledge(topic, _RULE, "Only the tests publish to it.")


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> list[App]:
    """The apps to which the checks were added: the real ones, which also run."""
    apps: list[App] = []
    add_checks = checks.add_checks

    def add_and_note(app: App) -> None:
        apps.append(app)
        add_checks(app)

    monkeypatch.setattr(checks, "add_checks", add_and_note)
    return apps


def fails(build: Callable[[App], None], passed: Path) -> bool:
    try:
        checks.synthesize(build, passed=passed)
    except RuntimeError as error:
        return _RULE in str(error)
    return False


def test_what_passed_is_not_checked_again(tmp_path: Path, checked: list[App]) -> None:
    assert not fails(acknowledged, tmp_path / "passed")
    assert not fails(acknowledged, tmp_path / "passed")
    assert len(checked) == 1


def test_a_finding_ends_every_synthesis(tmp_path: Path) -> None:
    assert fails(insecure, tmp_path)
    assert fails(insecure, tmp_path)


def test_a_result_with_a_warning_is_checked_and_warned_of_every_time(
    tmp_path: Path, checked: list[App]
) -> None:
    def warned(app: App) -> None:
        app.node.set_context("@aws-cdk/core:annotationsInValidationReport", True)
        Annotations.of(Stack(app, "Stack")).add_warning_v2("test:warning", "A warning.")

    checks.synthesize(warned, passed=tmp_path)
    checks.synthesize(warned, passed=tmp_path)
    assert len(checked) == 2


def test_a_reason_that_is_taken_back_is_noticed_although_the_template_is_the_same(
    tmp_path: Path,
) -> None:
    assert not fails(acknowledged, tmp_path)
    assert fails(insecure, tmp_path)


def test_what_passed_with_other_versions_of_the_checks_is_checked_again(
    tmp_path: Path, checked: list[App], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks.synthesize(acknowledged, passed=tmp_path)
    monkeypatch.setattr(metadata, "version", lambda _: "0")
    checks.synthesize(acknowledged, passed=tmp_path)
    assert len(checked) == 2


def test_what_passed_on_another_day_is_checked_again(tmp_path: Path, checked: list[App]) -> None:
    for day in (1, 1, 2):
        checks.synthesize(acknowledged, passed=tmp_path, today=datetime.date(2026, 11, day))
    assert len(checked) == 2


def test_what_passed_without_the_cdks_own_checks_is_checked_again(
    tmp_path: Path, checked: list[App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDK_VALIDATION", "false")
    checks.synthesize(acknowledged, passed=tmp_path)
    monkeypatch.delenv("CDK_VALIDATION")
    checks.synthesize(acknowledged, passed=tmp_path)
    assert len(checked) == 2


def test_where_nothing_can_be_remembered_every_synthesis_is_checked(
    tmp_path: Path, checked: list[App]
) -> None:
    (tmp_path / "passed").write_text("a file, not a folder")
    assert not fails(acknowledged, tmp_path / "passed")
    assert not fails(acknowledged, tmp_path / "passed")
    assert len(checked) == 2


def test_findings_of_an_earlier_synthesis_into_the_same_folder_are_not_reported_again(
    tmp_path: Path,
) -> None:
    report = tmp_path / "cdk.out" / "validation-report.json"
    again = f"""
from pathlib import Path
from stacks.checks import synthesize
from tests.infra.test_checks import acknowledged

synthesize(acknowledged, passed=Path({str(tmp_path)!r}))
Path({str(report)!r}).write_text("findings of another environment")
synthesize(acknowledged, passed=Path({str(tmp_path)!r}))
"""
    subprocess.run(
        [sys.executable, "-c", again],
        cwd=ROOT,
        env=os.environ | {"CDK_OUTDIR": str(report.parent)},  # as the CDK's command line sets it
        check=True,
    )
    assert (report.parent / "manifest.json").exists()
    assert not report.exists()
