"""device.provision: one identity, whatever happens on the way to it."""

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from device import aws, identity
from device.errors import AwsError, ExitStatus, IdentityError
from device.provision import main
from device.registry.registration import provision
from tests.unit.device.fakes import FakeIot, environment
from tests.unit.device.provision.provisioning import THING, assert_works, files, run


def test_makes_a_complete_identity(tmp_path: Path) -> None:
    iot = FakeIot()
    made = run(tmp_path, iot)
    assert_works(tmp_path, iot)
    assert made.device.endpoint == "abc-ats.iot.eu-central-1.amazonaws.com"
    assert made.device.port == 8883
    assert (made.device.environment, made.device.thing_name) == ("dev", THING)
    assert made.ca_path.read_text().count("BEGIN CERTIFICATE") == 2  # RSA and ECDSA endpoints


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        folder = run(tmp_path, FakeIot()).folder
    finally:
        os.umask(umask)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_activates_the_certificate_after_everything_else(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    assert iot.changes()[0] == "create_certificate_from_csr"
    assert iot.calls[-1][0] == "update_certificate"
    assert dict(iot.calls)["create_certificate_from_csr"]["setAsActive"] is False


def test_attaches_the_certificate_exclusively(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    attached = dict(iot.calls)["attach_thing_principal"]
    assert attached["thingPrincipalType"] == "EXCLUSIVE_THING"


def test_a_second_run_changes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iot = FakeIot()
    folder = run(tmp_path, iot).folder
    before = files(folder)
    iot.calls.clear()
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    result = CliRunner().invoke(main, ["--env", "dev", THING])
    assert result.exit_code == ExitStatus.OK
    assert "nothing changed" in result.stderr
    assert result.stdout == f"{folder}\n"
    assert iot.changes() == []
    assert files(folder) == before


def test_the_private_key_is_told_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    iot = FakeIot()
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    result = CliRunner().invoke(main, ["--env", "dev", THING])
    key = (tmp_path / "certs/dev" / THING / "private.key").read_text()
    told = result.output + caplog.text + repr(iot.calls)
    secrets = key.splitlines()[1:3]  # the fourth line is of the public key
    assert "PRIVATE KEY" not in told
    assert not any(line in told for line in secrets)
    others = [c for n, c in files(tmp_path / "certs/dev" / THING).items() if n != "private.key"]
    assert not any(line.encode() in content for line in secrets for content in others)


def test_repairs_what_is_missing_in_aws_and_says_so(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    iot.things.clear()
    iot.policies["dev_device"].clear()
    iot.groups["dev_devices"].clear()
    iot.calls.clear()
    said: list[str] = []
    run(tmp_path, iot, said)
    assert_works(tmp_path, iot)
    assert len(said) == 4
    assert "update_certificate" not in iot.changes()


@pytest.mark.parametrize("name", ["ca.pem", "certificate.pem"])
def test_restores_a_public_file_and_says_so(tmp_path: Path, name: str) -> None:
    iot = FakeIot()
    path = run(tmp_path, iot).folder / name
    path.unlink()
    said: list[str] = []
    run(tmp_path, iot, said)
    assert said == [f"{path}: written"]
    assert_works(tmp_path, iot)


def test_makes_a_readable_key_private_again(tmp_path: Path) -> None:
    iot = FakeIot()
    key = run(tmp_path, iot).key_path
    key.chmod(0o644)
    said: list[str] = []
    run(tmp_path, iot, said)
    assert said == [f"{key}: made private (mode 0600)"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_follows_a_broker_that_has_moved(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    iot.endpoint = "moved.example"
    assert run(tmp_path, iot).device.endpoint == "moved.example"
    assert_works(tmp_path, iot)


def test_leaves_a_deactivated_certificate_as_it_is(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    for certificate in iot.certificates.values():
        certificate["status"] = "INACTIVE"
    iot.calls.clear()
    with pytest.raises(AwsError, match="got INACTIVE") as caught:
        run(tmp_path, iot)
    assert caught.value.status is ExitStatus.CONFLICT
    assert iot.changes() == []


def test_does_not_give_a_thing_a_second_certificate(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot)
    elsewhere = tmp_path / "another-machine"
    elsewhere.mkdir()
    iot.calls.clear()
    with pytest.raises(AwsError, match="copy the identity from the machine that has it") as caught:
        run(elsewhere, iot)
    assert caught.value.status is ExitStatus.CONFLICT
    assert iot.changes() == []
    assert not (elsewhere / "certs/dev" / THING).exists()


def test_refuses_another_accounts_identity(tmp_path: Path) -> None:
    iot = FakeIot()
    made = run(tmp_path, iot)
    path = made.folder / "device.json"
    content = json.loads(path.read_text())
    content["certificate_arn"] = content["certificate_arn"].replace("123456789012", "210987654321")
    path.write_text(json.dumps(content))
    with pytest.raises(AwsError, match=r"got one of 210987654321 eu-central-1") as caught:
        run(tmp_path, iot)
    assert caught.value.status is ExitStatus.CONFLICT


@pytest.mark.parametrize("status", [None, "ROLLBACK_COMPLETE", "DELETE_IN_PROGRESS"])
def test_asks_for_the_stack_before_it_makes_anything(tmp_path: Path, status: str | None) -> None:
    iot = FakeIot()
    with pytest.raises(AwsError, match="run cdk deploy -c env=dev") as caught:
        provision(environment(tmp_path, iot, status), THING, print)
    assert caught.value.status is ExitStatus.NO_STACK
    assert iot.calls == []
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize("part", ["policies", "groups"])
def test_a_stack_without_its_policy_or_group_is_an_error_and_then_completes(
    tmp_path: Path, part: str
) -> None:
    iot = FakeIot()
    held = dict(getattr(iot, part))
    getattr(iot, part).clear()
    with pytest.raises(AwsError, match="which the stack makes") as caught:
        run(tmp_path, iot)
    assert caught.value.status is ExitStatus.NO_STACK
    assert [c["status"] for c in iot.certificates.values()] == ["INACTIVE"]
    getattr(iot, part).update(held)
    run(tmp_path, iot)
    assert_works(tmp_path, iot)


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    iot = FakeIot()
    environment_ = environment(tmp_path, iot)

    def while_it_runs(_: str) -> None:
        with pytest.raises(IdentityError, match=r"another device command is at work"):
            provision(environment_, THING, print)

    provision(environment_, THING, while_it_runs)
    assert_works(tmp_path, iot)


def test_a_lost_key_is_an_error(tmp_path: Path) -> None:
    iot = FakeIot()
    run(tmp_path, iot).key_path.unlink()
    with pytest.raises(IdentityError, match=r"private\.key, got no such file"):
        run(tmp_path, iot)


def test_a_folder_without_its_description_is_an_error(tmp_path: Path) -> None:
    iot = FakeIot()
    (run(tmp_path, iot).folder / "device.json").unlink()
    with pytest.raises(IdentityError, match="move the folder away"):
        run(tmp_path, iot)


def test_a_broken_journal_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "certs/dev" / THING
    folder.mkdir(parents=True)
    (folder / "provisioning.json").write_text("{")
    with pytest.raises(IdentityError, match="expected a journal"):
        run(tmp_path, FakeIot())


def test_a_bad_thing_name_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["--env", "dev", "../x"])
    assert result.exit_code == ExitStatus.USAGE


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(aws, "session_for", interrupted)
    result = CliRunner().invoke(main, ["--env", "dev", THING])
    assert result.exit_code == ExitStatus.INTERRUPTED
    assert result.stderr == "interrupted; run the same command again to complete it\n"


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow, as on a full disk: a write fails with an error that names no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("table", [False, True])
def test_a_full_disk_is_one_line_and_the_next_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, table: bool
) -> None:
    iot = FakeIot()
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    (tmp_path / "things.csv").write_text(f"thing_name\n{THING}\n")
    named = ["--from", str(tmp_path / "things.csv")] if table else [THING]
    with full_disk():
        result = CliRunner().invoke(main, ["--env", "dev", *named])
    assert result.exit_code == ExitStatus.FILE, result.output
    assert "File too large; check its permissions and the free space" in result.stderr
    assert len(result.stderr.splitlines()) == (2 if table else 1)
    assert iot.changes() == []
    assert CliRunner().invoke(main, ["--env", "dev", *named]).exit_code == ExitStatus.OK
    assert_works(tmp_path, iot)


@pytest.mark.parametrize("table", [False, True])
def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, table: bool
) -> None:
    iot = FakeIot()
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    (tmp_path / "certs").write_text("not a folder")
    (tmp_path / "things.csv").write_text(f"thing_name\n{THING}\n")
    named = ["--from", str(tmp_path / "things.csv")] if table else [THING]
    result = CliRunner().invoke(main, ["--env", "dev", *named])
    assert result.exit_code == ExitStatus.FILE, result.output
    assert f"cannot use {tmp_path}/certs" in result.stderr
    assert iot.changes() == []


_MANY = """
import sys
from pathlib import Path
from device import aws, provision
from tests.unit.device.fakes import FakeIot, environment
root = Path(sys.argv[1])
opened = environment(root, FakeIot())
aws.session_for = lambda _: opened
provision.main(["--env", "dev", "--from", str(root / "things.csv")])
"""


def test_a_reader_that_goes_away_does_not_stop_a_table_half_way(tmp_path: Path) -> None:
    things = [f"sensor-{number}" for number in range(30)]
    (tmp_path / "things.csv").write_text("\n".join(["thing_name", *things]))
    process = subprocess.Popen(
        [sys.executable, "-c", _MANY, str(tmp_path)],
        cwd=identity.PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()  # as head -1 does
    assert process.wait(60) == ExitStatus.OK
    for thing in things:
        identity.load(tmp_path / "certs/dev" / thing)
