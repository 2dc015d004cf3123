"""A device to examine, and its examination."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from device.identity import Identity
from device.registry.registration import provision
from local.state import ENVIRONMENT
from ops.doctor.__main__ import main
from tests.local.conftest import Lake


@pytest.fixture(scope="module", autouse=True)
def _no_other_events(no_events_of_other_tests: None) -> None:
    """Doctor would report the events of other tests."""


@pytest.fixture(scope="module")
def patient(lake: Lake) -> Identity:
    return provision(lake.environment, f"patient-{secrets.token_hex(4)}", lambda _: None)


@dataclass(frozen=True)
class Diagnosis:
    status: int
    findings: list[dict[str, Any]]

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [finding for finding in self.findings if finding["outcome"] == "failed"]

    @property
    def named(self) -> list[str]:
        return [f"{finding['stage']} · {finding['check']}" for finding in self.failed]


Diagnose = Callable[..., Diagnosis]


@pytest.fixture
def diagnose() -> Diagnose:
    """Run the whole command."""

    def run(patient: Identity, *options: str) -> Diagnosis:
        thing = patient.device.thing_name
        arguments = ["--env", ENVIRONMENT, thing, "--format", "json", *options]
        done = CliRunner().invoke(main, arguments)
        assert done.stderr == ""
        return Diagnosis(done.exit_code, [json.loads(line) for line in done.stdout.splitlines()])

    return run
