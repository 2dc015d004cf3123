"""ops.revoke: nobody can connect any more, in the right order, and only if it is meant."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from device import aws
from device.errors import AwsError, ExitStatus
from device.identity import Identity
from device.registry.registration import provision
from ops import revoke
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
        arns = revoke.certificates_of(opened, THING)
    except AwsError:
        return said  # an earlier run has deleted the thing
    revoke.revoke(opened, THING, arns, said.append, delete=delete)
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
    assert result.exit_code == 1
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
