"""What doctor says about the files of an identity and about its spool."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from device.delivery import mqtt
from device.delivery.spool import Additions, Spool, SpooledMessage
from device.errors import Unreachable
from ops.doctor.context import Context
from ops.doctor.examination import Check
from ops.doctor.findings import CheckOutcome, Failed
from ops.doctor.stages import broker, identity, network, probe, spool
from tests.unit.ops.doctor.helpers import failures, result


def folder_open(context: Context) -> None:
    context.folder.chmod(0o755)


def description_cut(context: Context) -> None:
    (context.folder / "device.json").write_text("{")


def description_of_another(context: Context) -> None:
    path = context.folder / "device.json"
    path.write_text(path.read_text().replace("sensor-1", "sensor-2"))


def certificate_cut(context: Context) -> None:
    context.identity.certificate_path.write_text("-----BEGIN CERTIFICATE-----")


def key_cut(context: Context) -> None:
    context.identity.key_path.write_text("-----BEGIN PRIVATE KEY-----")


def ca_cut(context: Context) -> None:
    context.identity.ca_path.write_text("")


def interrupted(context: Context) -> None:
    (context.folder / "provisioning.json").write_text("{}")


@pytest.mark.parametrize(
    ("fault", "check", "remedy"),
    [
        (folder_open, "modes", "run chmod 700 "),
        (description_cut, "files", "restore it from where it was made, or move "),
        (description_of_another, "files", "move the folder to where its device.json says"),
        (interrupted, "files", "run python -m device.provision --env dev sensor-1"),
        (certificate_cut, "pair", "run python -m device.provision --env dev sensor-1 again"),
        (key_cut, "pair", "restore it from where it was made, or move "),
        (ca_cut, "ca", "run python -m device.provision --env dev sensor-1"),
    ],
)
def test_a_fault_of_the_files_is_named_with_its_remedy(
    fault: Callable[[Context], None], check: str, remedy: str, patient: Context
) -> None:
    assert failures(patient, identity.STAGE) == []
    fault(patient)
    (found,) = failures(patient, identity.STAGE)
    assert found.check == check
    assert found.remedy is not None
    assert found.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("now", "seen", "remedy"),
    [  # The certificate is of 2026 to 2049.
        (datetime(1970, 1, 1, 0, 3, tzinfo=UTC), "valid from 2026-01-01", "set this machine's"),
        (datetime(2050, 1, 1, tzinfo=UTC), "has expired on 2049-12-31", "run python -m device.rot"),
    ],
)
def test_a_certificate_that_is_not_valid_yet_or_any_more(
    now: datetime, seen: str, remedy: str, patient: Context
) -> None:
    (found,) = failures(replace(patient, clock=lambda: now), identity.STAGE)
    assert found.check == "dates"
    assert seen in found.detail
    assert str(found.remedy).startswith(remedy)


@pytest.fixture
def publisher(patient: Context) -> Iterator[None]:
    """A process that has the identity's spool open, as device.publish does."""
    path = patient.identity.spool_path
    path.parent.mkdir()
    opened = Spool(path, max_bytes=1 << 20)
    yield
    opened.close()


def leave_in_spool(context: Context, readings: int) -> None:
    path = context.identity.spool_path
    path.parent.mkdir()
    left = Spool(path, max_bytes=1 << 20)
    left.add(Additions([SpooledMessage(1, "a/topic", b"{}", readings)], [], {}))
    left.close()


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Counts the connections that are tried."""
    tried = Mock(side_effect=Unreachable("no broker here", remedy="start one"))
    monkeypatch.setattr(mqtt, "Connection", tried)
    return tried


@pytest.mark.parametrize("check", [broker.connect, broker.publish])
def test_a_publisher_at_work_is_not_disconnected(
    check: Check, patient: Context, publisher: None, connection: Mock
) -> None:
    found = result(patient, check)
    assert found.outcome is CheckOutcome.SKIPPED
    assert found.detail.startswith("a publisher uses this identity")
    assert not connection.called
    result(replace(patient, take_over=True), check)
    assert connection.called


def test_without_a_publisher_the_broker_is_tried(patient: Context, connection: Mock) -> None:
    leave_in_spool(patient, 1)
    assert result(patient, broker.connect).detail == "no broker here"
    assert connection.called


def test_a_probe_does_not_disconnect_a_publisher_at_work(
    patient: Context, publisher: None, connection: Mock
) -> None:
    found = result(patient, probe.Probe().publish)
    assert found.outcome is CheckOutcome.FAILED
    assert found.remedy == "stop the publisher, or add --take-over"
    assert not connection.called


def test_a_publisher_at_work_is_no_fault_of_the_spool(patient: Context, publisher: None) -> None:
    assert result(patient, spool.readings).detail == "a publisher is at work"


@pytest.mark.parametrize(
    ("count", "seen"),
    [(1, "1 reading of an earlier run is still here"), (2, "2 readings of an earlier run are ")],
)
def test_readings_that_wait_are_counted(count: int, seen: str, patient: Context) -> None:
    assert result(patient, spool.readings).detail == "no publisher has left anything"
    leave_in_spool(patient, count)
    found = result(patient, spool.readings)
    assert found.detail.startswith(seen)
    assert found.remedy == (
        "run python -m device.publish --env dev --thing sensor-1 --file /dev/null"
    )


def test_the_spool_is_examined_even_if_the_network_fails(patient: Context) -> None:
    leave_in_spool(patient, 1)

    def unreachable(_: Context) -> str:
        raise Failed("no way", "find one")

    broken = replace(network.STAGE, checks={"dns": unreachable})
    found = failures(patient, identity.STAGE, broken, spool.STAGE)
    assert [finding.stage for finding in found] == ["network", "spool"]
