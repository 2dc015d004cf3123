"""device.provision: killed at any step and run again, there is one certificate in the end."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device import identity
from tests.unit.device.fakes import FakeIot, Killed
from tests.unit.device.provision.provisioning import assert_works, run


@pytest.fixture
def killable(monkeypatch: pytest.MonkeyPatch) -> FakeIot:
    """An AWS IoT whose steps, and those of writing files, can be the last ones of a run."""
    iot = FakeIot()
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        iot.steps.tick()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return iot


def test_killed_at_any_step_and_run_again_it_completes_with_one_certificate(
    tmp_path: Path, killable: FakeIot
) -> None:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        iot = FakeIot(steps=killable.steps)
        iot.steps.run_until(step)
        try:
            run(root, iot)
        except Killed:
            iot.steps.run_until(None)
            run(root, iot)
            assert_works(root, iot)
        else:
            break
    assert step > 25  # each call, each file


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kills=st.lists(st.integers(1, 30), max_size=6))
def test_killed_again_and_again_it_completes_with_one_certificate(
    tmp_path_factory: pytest.TempPathFactory, killable: FakeIot, kills: list[int]
) -> None:
    root = tmp_path_factory.mktemp("root")
    iot = FakeIot(steps=killable.steps)
    iot.add_old_certificates(3)
    for step in [*kills, None]:
        iot.steps.run_until(step)
        try:
            run(root, iot)
        except Killed:
            continue
    assert_works(root, iot)


def test_looks_for_a_lost_certificate_only_among_recent_ones(
    tmp_path: Path, killable: FakeIot
) -> None:
    iot = killable
    iot.add_old_certificates(50)
    ticks = 0
    while not [c for c in iot.certificates if not c.startswith("old")]:
        ticks += 1
        iot.steps.run_until(ticks)
        with pytest.raises(Killed):
            run(tmp_path, iot)
    iot.calls.clear()
    iot.steps.run_until(None)
    run(tmp_path, iot)
    assert_works(tmp_path, iot)
    assert "create_certificate_from_csr" not in iot.changes()
    assert len([name for name, _ in iot.calls if name == "describe_certificate"]) == 1


def test_issues_a_new_certificate_when_the_old_one_was_deleted(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    iot.certificates.clear()
    iot.things.clear()
    iot.policies["dev_device"].clear()
    said: list[str] = []
    run(tmp_path, iot, said)
    assert "no longer in dev" in said[0]
    assert_works(tmp_path, iot)


def revoked(iot: FakeIot) -> None:
    for certificate in iot.certificates.values():
        certificate["status"] = "REVOKED"


def deleted(iot: FakeIot) -> None:
    iot.certificates.clear()
    iot.things.clear()
    iot.policies["dev_device"].clear()


@pytest.mark.parametrize("lost", [revoked, deleted])
def test_a_certificate_that_was_taken_away_is_replaced_with_one_for_a_new_key(
    tmp_path: Path, lost: Callable[[FakeIot], None]
) -> None:
    iot = FakeIot()
    before = run(tmp_path, iot)
    key, old = before.key_path.read_bytes(), before.device.certificate_id
    lost(iot)
    said: list[str] = []
    after = run(tmp_path, iot, said)
    assert "a new key and certificate are made" in said[0]
    assert after.device.certificate_id != old
    assert after.key_path.read_bytes() != key
    assert iot.certificates[after.device.certificate_id]["status"] == "ACTIVE"
    assert not [p for p in after.folder.rglob("*") if p.is_file() and p.read_bytes() == key]
    if lost is revoked:
        assert iot.certificates[old]["status"] == "REVOKED"


@pytest.mark.parametrize("lost", [revoked, deleted])
def test_killed_at_any_step_of_replacing_the_key_the_old_one_gets_no_certificate(
    tmp_path: Path, killable: FakeIot, lost: Callable[[FakeIot], None]
) -> None:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        iot = FakeIot(steps=killable.steps)
        iot.steps.run_until(None)
        before = run(root, iot)
        old_key = identity.public_key_of_key(before.key_path)
        lost(iot)
        known = set(iot.certificates)
        iot.steps.run_until(step)
        try:
            run(root, iot)
        except Killed:
            iot.steps.run_until(None)
            run(root, iot)
            (certificate,) = (c for n, c in iot.certificates.items() if n not in known)
            assert certificate["status"] == "ACTIVE"
            assert identity.public_key_of_pem(certificate["certificatePem"]) != old_key
            assert identity.load(before.folder).device.certificate_id not in known
        else:
            break
    assert step > 30


def test_a_key_that_was_revoked_elsewhere_does_not_keep_a_thing_from_a_new_machine(
    tmp_path: Path,
) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    revoked(iot)
    elsewhere = tmp_path / "another-machine"
    elsewhere.mkdir()
    made = run(elsewhere, iot)
    assert iot.certificates[made.device.certificate_id]["status"] == "ACTIVE"


def test_a_certificate_that_is_revoked_while_it_is_made_is_not_activated(
    tmp_path: Path, killable: FakeIot
) -> None:
    iot = killable
    while not iot.policies["dev_device"]:
        iot.steps.run_until(iot.steps.count + 1)
        with pytest.raises(Killed):
            run(tmp_path, iot)
    iot.steps.run_until(None)
    (first,) = iot.certificates
    revoked(iot)
    made = run(tmp_path, iot)
    assert made.device.certificate_id != first
    assert iot.certificates[first]["status"] == "REVOKED"
