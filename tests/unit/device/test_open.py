"""device.open: what a program calls."""

import subprocess
import sys
from pathlib import Path

import pytest

import device
from device import identity
from device.delivery import mqtt
from device.errors import (
    SpoolError,
)
from device.registry.registration import provision
from tests.unit.device.delivery.sinks import GOOD, TOPIC
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.fakes import FakeIot, environment


@pytest.fixture
def own(tmp_path: Path) -> identity.Identity:
    return provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None)


def test_open_takes_a_folder_or_an_identity(
    own: identity.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeConnection()
    monkeypatch.setattr(mqtt, "Connection", lambda _: broker)
    for given_as in (own, own.folder, str(own.folder)):
        with device.open(given_as) as taking:
            taking.put(GOOD)
    assert {topic for topic, _ in broker.sent} == {TOPIC}
    assert len(broker.sent) == 3
    spool = own.folder / "spool"
    assert spool.stat().st_mode & 0o777 == 0o700
    assert (spool / "spool.db").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_a_spool_error(own: identity.Identity) -> None:
    own.spool_path.parent.touch()
    with pytest.raises(SpoolError, match=r"cannot use the folder .* for the spool: File exists"):
        device.open(own)


def test_importing_the_package_loads_next_to_nothing() -> None:
    code = "import sys, device; print(*sorted(n for n in sys.modules if n.split('.')[0] in %s))"
    heavy = {"awscrt", "boto3", "cryptography", "msgspec", "sqlite3", "click", "rich"}
    found = subprocess.run(
        [sys.executable, "-c", code % heavy],
        capture_output=True,
        text=True,
        check=True,
        cwd=identity.PROJECT_ROOT,
    )
    assert found.stdout.strip() == ""


def test_an_unknown_field_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "Connection", lambda _: FakeConnection())
    folder = provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None).folder
    with device.open(folder) as opened:
        for _ in range(3):
            opened.put({**GOOD, "timestamp": 1_790_000_000_123, "wind": 1})
        assert opened.unknown_fields() == {"wind": 3}
    assert [record.getMessage() for record in caplog.records] == [
        'the contract has no field "wind"; its values are kept in the raw data only'
    ]
