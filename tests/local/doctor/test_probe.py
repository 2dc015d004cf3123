"""A probe that does not arrive, and readings that were rejected."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from device.errors import ExitStatus
from device.identity import Identity
from local import state
from ops.doctor.context import Context
from ops.doctor.stages import probe
from tests.local.conftest import Lake, wait_for
from tests.local.doctor.conftest import Diagnose
from tests.local.doctor.pipeline_faults import send, undelivered


@contextmanager
def firehose_stopped() -> Iterator[None]:
    (process,) = (process for process, role in state._marked() if role == "firehose")
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_a_probe_that_is_lost_is_named_by_the_hop_where_it_was_lost(
    patient: Identity, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE_SECONDS", 1.0)
    with firehose_stopped():
        found = diagnose(patient, "--send")
    assert found.named == ["probe · raw"], found.failed
    (failed,) = found.failed
    assert failed["remedy"] == "run python -m local status, and read the files in .local/logs"
    assert found.status == ExitStatus.PROBE


def test_a_probe_that_is_undelivered_is_told_with_the_reason(
    lake: Lake, patient: Identity, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE_SECONDS", 1.0)
    published = probe.Probe.publish
    with contextlib.ExitStack() as faults:

        def publish(self: probe.Probe, context: Context) -> str:
            acknowledged = published(self, context)
            faults.enter_context(undelivered(lake, patient))
            return acknowledged

        monkeypatch.setattr(probe.Probe, "publish", publish)
        with firehose_stopped():
            found = diagnose(patient, "--send")
    assert found.named == ["probe · raw"], found.failed
    (failed,) = found.failed
    assert "not authorized to perform firehose:PutRecord" in failed["detail"]


def test_names_a_rejected_reading_with_its_reason(
    lake: Lake, make_device: Callable[[], Identity], diagnose: Diagnose
) -> None:
    device = make_device()
    send(lake, device, {"temperature": "hot", "humidity": 40, "battery": 9, "status": "ok"})
    wait_for(lambda: lake.rejected(device.device.thing_name), 1, "rejected readings")
    # It is a failure, and does not keep a probe from being sent.
    found = diagnose(device, "--send")
    (failed,) = found.failed
    assert (failed["stage"], failed["check"]) == ("readings", "rejected")
    assert [f["outcome"] for f in found.findings if f["stage"] == "probe"] == ["ok"] * 4
    assert "1 in the last 24 h and the newest" in failed["detail"]
    assert "$.temperature" in failed["detail"]
    assert found.status == ExitStatus.INVALID
