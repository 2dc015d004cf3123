"""ops.claim: the certificate that devices register with."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from device import aws
from device.errors import AwsError, ExitStatus
from device.registry import registration
from ops import claim
from tests.unit.device.fakes import FakeIot, Killed, environment
from tests.unit.device.registry.fleet_broker import THING, Broker


@pytest.fixture
def iot() -> FakeIot:
    return FakeIot(policies={"dev_claim": set(), "dev_device": set()})


def claims_folder(root: Path) -> Path:
    return root / "certs/dev/@claim"


def test_a_claim_certificate_has_the_claim_policy_and_belongs_to_no_thing(
    tmp_path: Path, iot: FakeIot
) -> None:
    made = claim.make(environment(tmp_path, iot), lambda _: None)
    (certificate,) = iot.certificates.values()
    assert certificate["status"] == "ACTIVE"
    assert iot.policies == {"dev_claim": {certificate["certificateArn"]}, "dev_device": set()}
    assert iot.things == {}
    assert made.folder == claims_folder(tmp_path)
    assert stat.S_IMODE(made.key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700


def test_a_claim_killed_at_any_step_and_made_again_is_one(
    tmp_path: Path, broker: Broker, iot: FakeIot
) -> None:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        iot = FakeIot(steps=broker.steps, policies={"dev_claim": set()})
        broker.steps.run_until(step)
        try:
            claim.make(environment(root, iot), lambda _: None)
        except Killed:
            broker.steps.run_until(None)
            claim.make(environment(root, iot), lambda _: None)
            (certificate,) = iot.certificates.values()
            assert certificate["status"] == "ACTIVE"
            assert iot.policies == {"dev_claim": {certificate["certificateArn"]}}
            assert not (claims_folder(root) / "provisioning.json").exists()
        else:
            break
    assert step > 15


def test_revoking_takes_every_claim_certificate_wherever_it_was_made(
    tmp_path: Path, iot: FakeIot, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for root in (here, elsewhere):
        root.mkdir()
        claim.make(environment(root, iot), lambda _: None)
    registration.provision(environment(here, iot), THING, lambda _: None)
    monkeypatch.setattr(aws, "session_for", lambda _: environment(here, iot))
    asked = CliRunner().invoke(claim.main, ["--env", "dev", "--revoke"], input="n\n")
    assert (asked.exit_code, len(iot.certificates)) == (ExitStatus.DECLINED, 3)
    result = CliRunner().invoke(claim.main, ["--env", "dev", "--revoke", "--yes"])
    assert result.exit_code == ExitStatus.OK, result.stderr
    assert len(result.stdout.split()) == 2
    (left,) = iot.certificates.values()
    assert left["certificateArn"] in iot.policies["dev_device"]
    assert iot.policies["dev_claim"] == set()
    assert not claims_folder(here).exists()


def test_revoking_claims_where_there_are_none_is_nothing_to_do(
    tmp_path: Path, iot: FakeIot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    result = CliRunner().invoke(claim.main, ["--env", "dev", "--revoke"])
    assert (result.exit_code, result.stdout) == (ExitStatus.OK, "")
    assert result.stderr == "environment dev has no claim certificate; nothing to do\n"


def test_a_claim_that_was_revoked_elsewhere_is_told_of(tmp_path: Path, iot: FakeIot) -> None:
    opened = environment(tmp_path, iot)
    claim.make(opened, lambda _: None)
    claim.make(opened, lambda _: None)  # as it is
    for record in iot.certificates.values():
        record["status"] = "REVOKED"
    with pytest.raises(AwsError, match=r"got REVOKED; run python -m ops\.claim") as caught:
        claim.make(opened, lambda _: None)
    assert caught.value.status is ExitStatus.CONFLICT


def test_a_stack_without_the_claim_policy_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AwsError, match="run cdk deploy -c env=dev"):
        claim.make(environment(tmp_path, FakeIot()), lambda _: None)
