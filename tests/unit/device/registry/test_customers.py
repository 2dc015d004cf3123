"""Customers of a thing: each with an identity of its own, limited to its own sub-topics."""

import fnmatch
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import contracts
from device import identity, rotate
from device import provision as provision_
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.errors import AwsError, ExitStatus, IdentityError
from device.identity import Identity
from device.registry import customers, holdings
from device.registry.registration import provision
from ops import list as list_
from ops import revoke
from ops.doctor import remedies
from ops.doctor.context import Context
from tests.unit.device.fakes import FakeIot, FakeIotData, FakeProof, Killed, Steps, environment

THING = "sensor-1"
POLICY = "dev_customer_acme_sensor-1"
OWNER = "arn:aws:iot:eu-central-1:123456789012"


def run(
    root: Path, iot: FakeIot, customer: str | None = "acme", said: list[str] | None = None
) -> Identity:
    report = (said if said is not None else []).append
    return provision(environment(root, iot), THING, report, customer=customer)


def document(iot: FakeIot, policy: str = POLICY) -> dict[str, list[str]]:
    """What the policy allows, by action."""
    (text,) = iot.documents[policy].values()
    allowed: dict[str, list[str]] = {}
    for statement in json.loads(text)["Statement"]:
        assert statement["Effect"] == "Allow"
        resources = statement["Resource"]
        allowed[statement["Action"]] = resources if isinstance(resources, list) else [resources]
    return allowed


def assert_works(root: Path, iot: FakeIot) -> None:
    """There is one certificate, with one policy, and the identity is its."""
    (certificate,) = iot.certificates.values()
    arn = certificate["certificateArn"]
    assert certificate["status"] == "ACTIVE"
    assert iot.things == {THING: {arn}}
    assert iot.policies == {"dev_device": set(), POLICY: {arn}}
    loaded = identity.load(root / "certs" / "dev" / f"{THING}.acme")
    assert loaded.device.certificate_arn == arn
    assert (loaded.device.thing_name, loaded.device.customer) == (THING, "acme")


def test_a_customers_identity_is_complete_and_beside_the_things(tmp_path: Path) -> None:
    iot = FakeIot()
    made = run(tmp_path, iot)
    assert_works(tmp_path, iot)
    assert made.device.client_id == "sensor-1.acme"
    assert made.device.topic("telemetry") == "dt/dev/sensor-1/telemetry/acme"
    assert not (tmp_path / "certs/dev" / THING).exists()


def test_its_policy_allows_its_client_id_and_its_topics_and_nothing_else(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    assert document(iot) == {
        "iot:Connect": [f"{OWNER}:client/sensor-1.acme"],
        "iot:Publish": [
            f"{OWNER}:topic/dt/dev/sensor-1/telemetry/acme",
            f"{OWNER}:topic/$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry/acme",
            f"{OWNER}:topic/dt/dev/sensor-1/_proof/acme",
        ],
    }


def test_no_policy_matches_what_another_allows(tmp_path: Path) -> None:
    iot = FakeIot()
    for customer in ("acme", "acme2", "acm"):
        run(tmp_path, iot, customer)
    allowed = [
        {arn for arns in document(iot, f"dev_customer_{name}_sensor-1").values() for arn in arns}
        for name in ("acme", "acme2", "acm")
    ]
    for mine in allowed:
        for others in allowed:
            matched = {o for o in others for m in mine if fnmatch.fnmatchcase(o, m)}
            assert matched == (mine if mine is others else set())


def test_every_channel_has_its_topics_in_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "channels", lambda: ("events", "telemetry"))
    iot = FakeIot()
    run(tmp_path, iot)
    topics = {arn.partition(":topic/")[2] for arn in document(iot)["iot:Publish"]}
    assert {"dt/dev/sensor-1/events/acme", "dt/dev/sensor-1/telemetry/acme"} <= topics


def test_a_policy_longer_than_aws_iot_takes_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts, "channels", lambda: tuple(f"channel_{n}" for n in range(30)))
    iot = FakeIot()
    with pytest.raises(AwsError, match="at most 2048 characters"):
        run(tmp_path, iot)
    assert iot.changes() == []
    assert list((tmp_path / "certs/dev").iterdir()) == []


def test_the_policy_follows_the_contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    for count in range(1, 8):  # AWS IoT keeps five versions at most, as the fake sees to
        channels = ("telemetry", *(f"events_{n}" for n in range(count)))
        monkeypatch.setattr(contracts, "channels", lambda channels=channels: channels)
        said: list[str] = []
        run(tmp_path, iot, said=said)
        assert said == [f"policy {POLICY}: updated"]
    assert f"events_{count - 1}/acme" in list(iot.documents[POLICY].values())[-1]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    iot.calls.clear()
    run(tmp_path, iot)
    assert iot.changes() == []


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Steps that writing files takes, too."""
    made = Steps()
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        made.tick()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return made


def roots(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        yield step, root


def test_killed_at_any_step_and_run_again_it_completes_with_one_certificate_and_policy(
    tmp_path: Path, steps: Steps
) -> None:
    for step, root in roots(tmp_path):
        iot = FakeIot(steps=steps)
        steps.run_until(step)
        try:
            run(root, iot)
        except Killed:
            steps.run_until(None)
            run(root, iot)
            assert_works(root, iot)
        else:
            break
    assert step > 28


def test_a_thing_with_customers_gets_its_own_certificate_all_the_same(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot, "acme")
    run(tmp_path, iot, "umbrella")
    run(tmp_path, iot, None)
    assert len(iot.things[THING]) == 3
    assert [len(held) for held in iot.policies.values()] == [1, 1, 1]


def test_a_thing_with_customers_gets_no_second_certificate_of_its_own(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot, "acme")
    run(tmp_path, iot, None)
    elsewhere = tmp_path / "another-machine"
    elsewhere.mkdir()
    with pytest.raises(AwsError, match="expected thing sensor-1 to have no certificate") as caught:
        run(elsewhere, iot, None)
    assert caught.value.status is ExitStatus.CONFLICT


def test_a_customer_gets_no_second_certificate_and_another_one_gets_its_first(
    tmp_path: Path,
) -> None:
    iot = FakeIot()
    run(tmp_path, iot, None)
    run(tmp_path, iot, "acme")
    elsewhere = tmp_path / "another-machine"
    elsewhere.mkdir()
    iot.calls.clear()
    with pytest.raises(
        AwsError, match="expected thing sensor-1, customer acme, to have no certificate"
    ):
        run(elsewhere, iot, "acme")
    assert iot.changes() == []
    assert run(elsewhere, iot, "umbrella").device.customer == "umbrella"


def test_a_things_own_description_says_nothing_of_customers(tmp_path: Path) -> None:
    content = json.loads((run(tmp_path, FakeIot(), None).folder / "device.json").read_text())
    assert "customer" not in content  # as those that were written before there were customers


def test_a_description_with_another_kind_of_customer_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path, FakeIot()).folder
    content = json.loads((folder / "device.json").read_text())
    (folder / "device.json").write_text(json.dumps({**content, "customer": ["acme"]}))
    with pytest.raises(IdentityError, match="expected customer to be"):
        identity.load(folder)


@pytest.mark.parametrize(
    "options",
    [[THING, "--customer", "a/b"], [THING, "--customer", "c" * 65], ["--customer", "acme"]],
)
def test_a_bad_customer_is_a_usage_error(options: list[str]) -> None:
    result = CliRunner().invoke(provision_.main, ["--env", "dev", *options])
    assert result.exit_code == ExitStatus.USAGE


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
