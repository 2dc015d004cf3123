"""Customers of a thing in the other commands: revoke, list, rotate."""

from pathlib import Path

import pytest

from device import identity, rotate
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.errors import AwsError, ExitStatus, IdentityError
from device.identity import Identity
from device.registry import customers, holdings
from ops import list as list_
from ops import revoke
from ops.doctor import remedies
from ops.doctor.context import Context
from tests.unit.device.fake_broker import FakeProof
from tests.unit.device.fakes import FakeIot, FakeIotData, Killed, Steps, environment
from tests.unit.device.registry.customer_runs import POLICY, THING, roots, run


def revoked(
    root: Path, iot: FakeIot, customer: str | None = None, *, delete: bool = True
) -> set[str]:
    """Revoke; return the client ids that are still connected."""
    clients = {THING, f"{THING}.acme", f"{THING}.umbrella"}
    data = FakeIotData(iot.steps, connected=clients)
    opened = environment(root, iot, iot_data=data)
    holder = holdings.find(opened, THING, customer)
    revoke.revoke(opened, holder, lambda _: None, delete=delete)
    return data.connected


def with_customers(root: Path, steps: Steps | None = None) -> FakeIot:
    iot = FakeIot(steps=steps or Steps())
    for customer in (None, "acme", "umbrella"):
        run(root, iot, customer)
    return iot


def test_revoking_a_thing_revokes_its_customers_and_ends_all_connections(tmp_path: Path) -> None:
    iot = with_customers(tmp_path)
    assert revoked(tmp_path, iot, delete=False) == set()
    assert [c["status"] for c in iot.certificates.values()] == ["REVOKED"] * 3


def test_revoking_takes_a_customers_certificate_that_was_never_attached(tmp_path: Path) -> None:
    iot = with_customers(tmp_path)
    (unattached,) = iot.policies[POLICY]
    iot.things[THING].discard(unattached)
    revoked(tmp_path, iot)
    assert iot.certificates == {}


def test_deleting_a_thing_killed_at_any_step_and_run_again_leaves_nothing(tmp_path: Path) -> None:
    for step, root in roots(tmp_path):
        steps = Steps()
        iot = with_customers(root, steps)
        steps.run_until(step)
        try:
            revoked(root, iot)
        except Killed:
            steps.run_until(None)
            if iot.things:
                revoked(root, iot)
            assert iot.certificates == {}
            assert iot.things == {}
            assert set(iot.policies) == {"dev_device"}
        else:
            break
    assert step > 40


def test_deleting_a_customer_killed_at_any_step_leaves_the_thing_and_its_others(
    tmp_path: Path,
) -> None:
    for step, root in roots(tmp_path):
        steps = Steps()
        iot = with_customers(root, steps)
        steps.run_until(step)
        killed = False
        try:
            connected = revoked(root, iot, "acme")
        except Killed:
            killed = True
            steps.run_until(None)
            connected = revoked(root, iot, "acme")
        assert f"{THING}.umbrella" in connected
        assert set(iot.policies) == {"dev_device", "dev_customer_umbrella_sensor-1"}
        assert [c["status"] for c in iot.certificates.values()] == ["ACTIVE", "ACTIVE"]
        assert len(iot.things[THING]) == 2
        if not killed:
            break
    assert step > 15


def test_a_policy_that_aws_iot_keeps_for_now_is_told_of_and_the_thing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = with_customers(tmp_path)
    monkeypatch.setattr(customers, "_DELETE_PAUSE_SECONDS", 0)
    monkeypatch.setattr(iot, "detach_policy", lambda **_: None)
    monkeypatch.setattr(iot, "delete_certificate", lambda **_: None)
    with pytest.raises(AwsError, match="run this again") as caught:
        revoked(tmp_path, iot)
    assert caught.value.status is ExitStatus.CONFLICT
    assert THING in iot.things


def test_the_list_names_the_customers_and_finds_no_fault(tmp_path: Path) -> None:
    iot = with_customers(tmp_path)
    entries = list_.registrations(environment(tmp_path, iot))
    assert {entry.customer for entry in entries} == {None, "acme", "umbrella"}
    assert [entry.warnings for entry in entries] == [()] * 3
    assert {entry.thing_name for entry in entries} == {THING}


def test_the_list_warns_of_a_customers_certificate_that_is_attached_to_nothing(
    tmp_path: Path,
) -> None:
    iot = with_customers(tmp_path)
    iot.things[THING] -= iot.policies[POLICY]
    (entry,) = [e for e in list_.registrations(environment(tmp_path, iot)) if e.thing_name is None]
    assert (entry.customer, entry.warnings) == ("acme", ("attached to no thing",))


def test_rotating_a_customers_identity_proves_it_on_its_own_topic_with_its_own_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = with_customers(tmp_path)
    before = run(tmp_path, iot).device
    proven: list[tuple[str, str]] = []

    def connect(used: Identity) -> FakeProof:
        def answer(topic: str) -> PublishResult:
            proven.append((used.device.client_id, topic))
            return ACKNOWLEDGED

        return FakeProof(answer)

    monkeypatch.setattr(mqtt, "Connection", connect)
    opened = environment(tmp_path, iot)
    after = rotate.rotate(opened, THING, lambda _: None, customer="acme").device
    assert proven == [("sensor-1.acme", "dt/dev/sensor-1/_proof/acme")]
    assert after.customer == "acme"
    assert after.certificate_id != before.certificate_id
    assert iot.policies[POLICY] == {after.certificate_arn}
    assert len(iot.policies["dev_device"]) == 1


def test_what_to_run_names_the_customer(tmp_path: Path) -> None:
    context = Context("dev", THING, "telemetry", tmp_path, "acme")
    command = "run python -m device.provision --env dev sensor-1 --customer acme"
    assert remedies.provision(context) == command
    folder = run(tmp_path, FakeIot()).folder
    (folder / "certificate.pem").unlink()
    with pytest.raises(IdentityError, match="--env dev sensor-1 --customer acme"):
        identity.load(folder)
