"""Customers of a thing: each with an identity of its own, limited to its own sub-topics."""

import fnmatch
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import contracts
from device import identity
from device import provision as provision_
from device.errors import AwsError, ExitStatus, IdentityError
from tests.unit.device.fakes import FakeIot, Killed, Steps
from tests.unit.device.registry.customer_runs import (
    OWNER,
    POLICY,
    THING,
    assert_works,
    document,
    roots,
    run,
)


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
