"""An identity, and the command with a broker that answers as told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from device.delivery import mqtt
from device.publish import main
from device.registry.registration import provision
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.fakes import FakeIot, environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None).folder


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command with a broker that answers as told."""

    def run(*arguments: str, broker: FakeConnection, stdin: bytes | None = None) -> Result:
        monkeypatch.setattr(mqtt, "Connection", lambda _: broker)
        options = ["--identity", str(folder), *arguments]
        return CliRunner().invoke(main, options, input=stdin)

    return run
