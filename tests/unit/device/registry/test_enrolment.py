"""device.provision --claim: one working identity, whatever happens on the way to it."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contracts import names
from device import identity, provision
from device.errors import ConnectionRefused, ExitStatus, IdentityError, RequestFailed
from device.identity import Identity
from device.registry import enrolment, registration
from ops import claim
from tests.unit.device.fakes import FakeIot, Killed, environment
from tests.unit.device.registry.fleet_broker import THING, Broker


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    root = tmp_path_factory.mktemp("operator")
    iot = FakeIot(policies={"dev_claim": set(), "dev_device": set()})
    return claim.make(environment(root, iot), lambda _: None)


def run(root: Path, claimed: Identity, said: list[str] | None = None) -> Identity:
    report = (said if said is not None else []).append
    return enrolment.enrol(claimed, THING, report, root=root)


def assert_works(root: Path, broker: Broker) -> None:
    """There is one registered certificate, the identity is its, and nothing else is left."""
    loaded = identity.load(root / "certs/dev" / THING)  # sees that they are a pair
    assert broker.works(loaded)
    assert broker.things == {THING: {loaded.device.certificate_id}}
    assert sorted(path.name for path in loaded.folder.iterdir()) == [
        *("ca.pem", "certificate.pem", "device.json", "private.key")
    ]
    for path in loaded.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert loaded.device.certificate_arn.endswith(
        f":123456789012:cert/{loaded.device.certificate_id}"
    )


def test_makes_a_complete_identity_that_has_proven_itself(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    said: list[str] = []
    made = run(tmp_path, claimed, said)
    assert_works(tmp_path, broker)
    assert "connected and published" in said[-1]
    assert made.device.endpoint == claimed.device.endpoint
    assert made.ca_path.read_bytes() == claimed.ca_path.read_bytes()
    assert made.key_path.read_bytes() != claimed.key_path.read_bytes()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after an hour"])
def test_killed_at_any_step_and_run_again_it_completes_with_one_registered_certificate(
    tmp_path: Path, broker: Broker, claimed: Identity, *, late: bool
) -> None:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        broker.things.clear()
        broker.tokens.clear()
        broker.steps.run_until(step)
        try:
            run(root, claimed)
        except Killed:
            broker.steps.run_until(None)
            if late:
                broker.an_hour_passes()
            run(root, claimed)
            assert_works(root, broker)
        else:
            break
    assert step > 20  # each file, each request


def test_an_interrupted_run_keeps_its_key(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    key = tmp_path / "certs/dev" / THING / "private.key"
    step = 0
    while not key.exists():
        step += 1
        broker.steps.run_until(step)
        with pytest.raises(Killed):
            run(tmp_path, claimed)
    before = key.read_bytes()
    broker.steps.run_until(None)
    run(tmp_path, claimed)
    assert key.read_bytes() == before


def test_a_second_run_asks_for_nothing(tmp_path: Path, broker: Broker, claimed: Identity) -> None:
    run(tmp_path, claimed)
    broker.asked.clear()
    said: list[str] = []
    run(tmp_path, claimed, said)
    assert (broker.asked, said) == ([], [])


def test_a_name_that_a_device_has_is_refused_and_that_device_untouched(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    broker.things[THING] = {"another"}
    with pytest.raises(RequestFailed, match="a device has this name already") as caught:
        run(tmp_path, claimed)
    assert caught.value.status is ExitStatus.CONFLICT
    assert broker.things == {THING: {"another"}}
    assert not (tmp_path / "certs/dev" / THING / "device.json").exists()


def test_a_revoked_claim_certificate_is_refused(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    broker.revoked = True
    with pytest.raises(ConnectionRefused):
        run(tmp_path, claimed)
    broker.revoked = False
    run(tmp_path, claimed)
    assert_works(tmp_path, broker)


@pytest.mark.parametrize(
    ("forged", "seen"),
    [
        ({"certificatePem": "not one"}, "a certificate of the key made here"),
        ({"certificateId": None}, "expected certificate_id"),
        ({"certificateOwnershipToken": 7}, "expected certificate_ownership_token"),
        ({"errorCode": "ResourceThrottled", "errorMessage": "later"}, "ResourceThrottled: later"),
        ({"thingName": "another"}, "expected to be registered as sensor-1, got 'another'"),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_the_next_run_completes(
    tmp_path: Path, broker: Broker, claimed: Identity, forged: dict[str, Any], seen: str
) -> None:
    broker.forge = lambda _, answer: {
        **answer,
        **(forged if set(forged) <= {*answer, "errorCode", "errorMessage"} else {}),
    }
    with pytest.raises(RequestFailed, match=seen):
        run(tmp_path, claimed)
    broker.forge = lambda _, answer: answer
    run(tmp_path, claimed)
    assert_works(tmp_path, broker)


def test_another_keys_certificate_is_refused(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    theirs = claimed.certificate_path.read_text()
    broker.forge = lambda topic, answer: (
        {**answer, "certificatePem": theirs} if topic == names.SIGN_TOPIC else answer
    )
    with pytest.raises(RequestFailed, match="a certificate of the key made here, got another"):
        run(tmp_path, claimed)


def test_leaves_another_kind_of_provisioning_alone(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    folder = tmp_path / "certs/dev" / THING
    folder.mkdir(parents=True)
    (folder / "provisioning.json").write_text("{}")
    with pytest.raises(IdentityError, match="run this again without --claim"):
        run(tmp_path, claimed)
    (folder / "provisioning.json").unlink()
    (folder / "private.key").write_text("a key")
    with pytest.raises(IdentityError, match="move the folder away"):
        run(tmp_path, claimed)
    assert broker.asked == []


def test_the_command_takes_the_claim_from_a_folder_or_from_its_usual_place(
    tmp_path: Path, broker: Broker, claimed: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(identity, "folder_of", _folder_below(tmp_path))
    command = ["--env", "dev", THING, "--claim"]
    result = CliRunner().invoke(provision.main, command)
    assert result.exit_code == ExitStatus.IDENTITY
    assert "have the operator run python -m ops.claim --env dev" in result.stderr
    for _ in range(2):
        result = CliRunner().invoke(provision.main, [*command, str(claimed.folder)])
        assert result.exit_code == ExitStatus.OK, result.stderr
        assert result.stdout == f"{tmp_path / 'certs/dev' / THING}\n"
    assert "provisioned already" in result.stderr
    assert_works(tmp_path, broker)


def _folder_below(root: Path) -> Callable[..., Path]:
    return lambda env, name, root=root: root / "certs" / env / name


def test_another_environments_claim_and_what_is_no_claim_are_refused(
    tmp_path: Path, broker: Broker, claimed: Identity
) -> None:
    with pytest.raises(IdentityError, match="expected a claim certificate of prod"):
        enrolment.load_claim("prod", claimed.folder)
    device = registration.provision(environment(tmp_path, FakeIot()), THING, lambda _: None)
    with pytest.raises(IdentityError, match="got the identity of sensor-1"):
        enrolment.load_claim("dev", device.folder)


@pytest.mark.parametrize(
    "options", [["--customer", "acme"], ["--from", os.devnull]], ids=["customer", "table"]
)
def test_claim_goes_with_a_thing_alone(options: list[str]) -> None:
    result = CliRunner().invoke(provision.main, ["--env", "dev", THING, *options, "--claim"])
    assert result.exit_code == ExitStatus.USAGE


def test_a_device_needs_no_boto3() -> None:
    code = (
        "import sys; from device import provision; from device.registry import enrolment; "
        "assert not {'boto3', 'botocore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the claim certificate itself
