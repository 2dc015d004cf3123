"""ops.revoke: nobody can connect any more, in the right order, and only if it is meant."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from device import aws
from device.errors import AwsError, ExitStatus
from device.identity import Identity
from device.registry import holdings
from device.registry.registration import provision
from ops import claim, revoke
from tests.unit.device.fakes import FakeIot, FakeIotData, Killed, Steps, environment

THING = "sensor-1"


def provisioned(root: Path, iot: FakeIot) -> Identity:
    made = provision(environment(root, iot), THING, lambda _: None)
    # A second certificate, as a rotation on its way has it.
    second = iot.create_certificate_from_csr(
        certificateSigningRequest=_request(), setAsActive=True
    )["certificateArn"]
    iot.attach_policy(policyName="dev_device", target=second)
    iot.attach_thing_principal(thingName=THING, principal=second)
    iot.calls.clear()
    return made


def _request() -> str:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def run(root: Path, iot: FakeIot, *, delete: bool, data: FakeIotData | None = None) -> list[str]:
    said: list[str] = []
    opened = environment(root, iot, iot_data=data or FakeIotData(iot.steps))
    try:
        holder = holdings.find(opened, THING)
    except AwsError:
        return said  # an earlier run has deleted the thing
    revoke.revoke(opened, holder, said.append, delete=delete)
    return said


def test_revokes_every_certificate_before_anything_else(tmp_path: Path) -> None:
    iot = FakeIot()
    provisioned(tmp_path, iot)
    run(tmp_path, iot, delete=True)
    assert iot.changes()[:2] == ["update_certificate", "update_certificate"]
    assert iot.changes()[-1] == "delete_thing"


def test_without_delete_everything_stays_but_nothing_is_active(tmp_path: Path) -> None:
    iot = FakeIot()
    provisioned(tmp_path, iot)
    run(tmp_path, iot, delete=False)
    assert [c["status"] for c in iot.certificates.values()] == ["REVOKED", "REVOKED"]
    assert len(iot.things[THING]) == 2


def test_cuts_the_live_connection_where_the_service_can(tmp_path: Path) -> None:
    iot = FakeIot()
    provisioned(tmp_path, iot)
    data = FakeIotData(iot.steps, connected={THING})
    assert f"client {THING}: disconnected" in run(tmp_path, iot, delete=False, data=data)
    assert data.connected == set()


def test_says_so_where_it_cannot(tmp_path: Path) -> None:
    iot = FakeIot()
    provisioned(tmp_path, iot)
    said = run(tmp_path, iot, delete=False, data=FakeIotData(iot.steps, supported=False))
    assert "within minutes" in said[-1]


def test_killed_at_any_step_and_run_again_nothing_is_left(tmp_path: Path) -> None:
    step = 0
    while True:
        step += 1
        steps = Steps()
        iot = FakeIot(steps=steps)
        root = tmp_path / str(step)
        root.mkdir()
        provisioned(root, iot)
        steps.run_until(step)
        try:
            run(root, iot, delete=True)
        except Killed:
            steps.run_until(None)
            run(root, iot, delete=True)
            assert iot.certificates == {}
            assert iot.things == {}
        else:
            break
    assert step > 15


@pytest.fixture
def iot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIot:
    made = FakeIot()
    provisioned(tmp_path, made)
    opened = environment(tmp_path, made, iot_data=FakeIotData(made.steps))
    monkeypatch.setattr(aws, "session_for", lambda _: opened)
    return made


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_asks_first_and_changes_nothing_unless_the_answer_is_yes(iot: FakeIot, answer: str) -> None:
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING], input=answer)
    assert result.exit_code in {ExitStatus.DECLINED, ExitStatus.USAGE}
    assert iot.changes() == []


@pytest.mark.parametrize(("options", "answer"), [([], "y\n"), (["--yes"], "")])
def test_prints_the_ids_of_what_it_revoked(iot: FakeIot, options: list[str], answer: str) -> None:
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING, *options], input=answer)
    assert result.exit_code == ExitStatus.OK
    assert sorted(result.stdout.split()) == sorted(iot.certificates)


def test_a_thing_that_is_none_is_an_error(iot: FakeIot) -> None:
    result = CliRunner().invoke(revoke.main, ["--env", "dev", "nobody", "--yes"])
    assert result.exit_code == ExitStatus.CONFLICT
    assert "python -m ops.list --env dev" in result.stderr


@pytest.mark.parametrize(("options", "said"), [([], "is revoked already"), (["--delete"], None)])
def test_a_second_run_has_nothing_to_do_and_says_so_unless_it_is_to_delete(
    iot: FakeIot, options: list[str], said: str | None
) -> None:
    CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--yes"])
    iot.calls.clear()
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--yes", *options])
    assert result.exit_code == ExitStatus.OK
    if said is None:
        assert iot.things == {}
    else:
        assert result.stderr == f"thing {THING} {said} in environment dev; nothing to do\n"
        assert iot.changes() == []


def test_a_customer_without_a_certificate_is_nothing_to_do(iot: FakeIot) -> None:
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--customer", "acme"])
    assert (result.exit_code, result.stdout) == (ExitStatus.OK, "")
    assert result.stderr == (
        f"thing {THING}, customer acme has no certificate in environment dev; nothing to do\n"
    )


def test_delete_removes_the_key_from_this_machine_and_keeps_the_spool(
    tmp_path: Path, iot: FakeIot
) -> None:
    folder = tmp_path / "certs/dev" / THING
    (folder / "spool").mkdir()
    (folder / "spool/spool.db").write_text("readings")
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--delete", "--yes"])
    assert f"{folder}: key and certificate removed" in result.stderr
    assert [path.name for path in folder.rglob("*")] == ["spool", "spool.db"]


def test_delete_says_which_keys_are_elsewhere(tmp_path: Path, iot: FakeIot) -> None:
    folder = tmp_path / "certs/dev" / THING
    folder.rename(tmp_path / "on the device")
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--delete", "--yes"])
    assert result.exit_code == ExitStatus.OK
    for certificate_id in result.stdout.split():
        assert f"certificate {certificate_id}: its key is not on this machine" in result.stderr


def test_delete_names_an_identity_that_it_cannot_read_and_leaves_it_alone(
    tmp_path: Path, iot: FakeIot
) -> None:
    folder = tmp_path / "certs/dev" / THING
    (folder / "device.json").write_text("garbage")
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--delete", "--yes"])
    assert result.exit_code == ExitStatus.OK
    assert f"{folder}: left alone: expected an identity's device.json" in result.stderr
    assert sorted(folder.rglob("*")) == before


def test_delete_keeps_a_key_whose_certificate_was_not_revoked(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    kept = provision(environment(here, FakeIot()), THING, lambda _: None)
    iot = FakeIot()
    provision(environment(elsewhere, iot), THING, lambda _: None)
    run(here, iot, delete=True)
    assert kept.key_path.exists()


def test_revoking_without_delete_leaves_the_key(tmp_path: Path, iot: FakeIot) -> None:
    CliRunner().invoke(revoke.main, ["--env", "dev", THING, "--yes"])
    assert (tmp_path / "certs/dev" / THING / "private.key").exists()


def test_a_connection_that_cannot_be_ended_is_one_plain_line(tmp_path: Path) -> None:
    iot = FakeIot()
    provisioned(tmp_path, iot)
    said = run(tmp_path, iot, delete=False, data=FakeIotData(iot.steps, supported=False))
    assert "An error occurred" not in said[-1]
    assert said[-1].startswith(f"client {THING}: not disconnected at once (")


# -- a whole environment


def full(root: Path, steps: Steps | None = None) -> FakeIot:
    """Things, customers, claims, and what interrupted commands and hands leave behind."""
    iot = FakeIot(steps=steps or Steps(), policies={"dev_device": set(), "dev_claim": set()})
    opened = environment(root, iot)
    for thing in (THING, "sensor-2"):
        provision(opened, thing, lambda _: None)
    provision(opened, THING, lambda _: None, customer="acme")
    provision(opened, "gone", lambda _: None, customer="acme")
    claim.make(opened, lambda _: None)
    loose = provision(opened, "loose", lambda _: None).device
    for thing in ("gone", "loose"):
        iot.things.pop(thing)
        iot.groups["dev_devices"].discard(thing)
    assert loose.certificate_arn in iot.policies["dev_device"]
    iot.things["bare"] = set()
    iot.groups["dev_devices"].add("bare")
    iot.calls.clear()
    return iot


def run_all(root: Path, iot: FakeIot) -> None:
    opened = environment(root, iot, iot_data=FakeIotData(iot.steps))
    revoke.revoke_everything(opened, holdings.find_everything(opened), lambda _: None)


def assert_can_be_destroyed(root: Path, iot: FakeIot) -> None:
    """CloudFormation can delete the stack's policies and its group; nothing else is left."""
    assert iot.policies == {"dev_device": set(), "dev_claim": set()}
    assert iot.groups == {"dev_devices": set()}
    assert iot.things == {}
    assert iot.certificates == {}


def test_all_empties_the_environment_so_that_its_stack_can_be_destroyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = full(tmp_path)
    opened = environment(tmp_path, iot, iot_data=FakeIotData(iot.steps))
    monkeypatch.setattr(aws, "session_for", lambda _: opened)
    ids = set(iot.certificates)
    result = CliRunner().invoke(revoke.main, ["--env", "dev", "--all", "--yes"])
    assert result.exit_code == ExitStatus.OK, result.stderr
    assert set(result.stdout.split()) == ids
    assert_can_be_destroyed(tmp_path, iot)
    assert not list((tmp_path / "certs/dev").rglob("private.key"))


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_all_asks_first_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    iot = full(tmp_path)
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    result = CliRunner().invoke(revoke.main, ["--env", "dev", "--all"], input=answer)
    assert result.exit_code in {ExitStatus.DECLINED, ExitStatus.USAGE}
    assert "every identity of dev, account 123456789012 (3 things, 6 certificates" in result.stderr
    assert iot.changes() == []


def test_all_on_an_empty_environment_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, FakeIot()))
    result = CliRunner().invoke(revoke.main, ["--env", "dev", "--all"])
    assert (result.exit_code, result.stdout) == (ExitStatus.OK, "")
    assert result.stderr == "environment dev has no identities; nothing to do\n"


def test_all_works_where_a_destroy_that_failed_has_taken_the_group(tmp_path: Path) -> None:
    iot = full(tmp_path)
    del iot.groups["dev_devices"]
    run_all(tmp_path, iot)
    assert not [held for held in iot.policies.values() if held]
    assert set(iot.things) == {"bare"}  # which nothing ties to the environment any more


def test_all_killed_at_any_step_and_run_again_empties_the_environment(tmp_path: Path) -> None:
    step = 0
    while True:
        step += 7  # there are hundreds
        steps = Steps()
        root = tmp_path / str(step)
        root.mkdir()
        iot = full(root, steps)
        steps.run_until(step)
        try:
            run_all(root, iot)
        except Killed:
            steps.run_until(None)
            run_all(root, iot)
            assert_can_be_destroyed(root, iot)
        else:
            break
    assert step > 100


@pytest.mark.parametrize(
    "options", [[], [THING, "--all"], ["--all", "--delete"], ["--all", "--customer", "acme"]]
)
def test_all_goes_with_nothing_else(options: list[str]) -> None:
    result = CliRunner().invoke(revoke.main, ["--env", "dev", *options])
    assert result.exit_code == ExitStatus.USAGE


def test_without_a_local_stack_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cdk.json").write_text('{"context": {"environments": {"local": {}}}}')
    session_for = aws.session_for
    monkeypatch.setattr(aws, "session_for", lambda name: session_for(name, tmp_path))
    for options in ([THING], ["--all"]):
        result = CliRunner().invoke(revoke.main, ["--env", "local", *options])
        assert result.exit_code == ExitStatus.UNREACHABLE
        assert result.stderr == ("error: the local stack is not running; run python -m local up\n")
