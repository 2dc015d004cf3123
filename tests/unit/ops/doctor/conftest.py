"""An identity to examine."""

from pathlib import Path

import pytest

from device.registry.registration import provision
from ops.doctor.context import Context
from tests.unit.device.fakes import FakeIot, environment


@pytest.fixture
def patient(tmp_path: Path) -> Context:
    provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None)
    return Context("dev", "sensor-1", "telemetry", tmp_path)
