"""device.rotate: there is a working identity at every moment, and one certificate in the end."""

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contracts import names
from device import aws, identity, rotate
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED, PublishOutcome, PublishResult
from device.errors import AwsError, ConnectionRefused, ExitStatus, IdentityError
from device.identity import Identity
from device.registry import proof
from device.registry.registration import provision
from tests.unit.device.fake_broker import FakeProof
from tests.unit.device.fakes import FakeIot, Killed, Steps, environment

THING = "sensor-1"


class Broker:
    """Takes a connection as AWS IoT would: with an active, attached certificate and its key."""

    def __init__(self, iot: FakeIot) -> None:
        self.iot = iot
        self.topics: list[str] = []
        self.refusals = 0
        self.delivery = ACKNOWLEDGED

    def check(self, used: Identity) -> None:
        loaded = identity.load(used.folder)  # sees that they are a pair
        record = self.iot.certificates[loaded.device.certificate_id]
        arn = record["certificateArn"]
        assert record["status"] == "ACTIVE"
        assert arn in self.iot.things[THING]
        assert arn in self.iot.policies["dev_device"]

    def answer(self, topic: str) -> PublishResult:
        self.topics.append(topic)
        return self.delivery

    def connect(self, used: Identity) -> FakeProof:
        self.iot.steps.tick()
        if self.refusals:
            self.refusals -= 1
            raise ConnectionRefused("no")
        self.check(used)
        return FakeProof(self.answer)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker(FakeIot())
    monkeypatch.setattr(mqtt, "Connection", made.connect)
    monkeypatch.setattr(proof, "_PAUSE_SECONDS", 0)
    return made


def run(root: Path, iot: FakeIot) -> Identity:
    return rotate.rotate(environment(root, iot), THING, lambda _: None)


def provisioned(root: Path, iot: FakeIot) -> Identity:
    return provision(environment(root, iot), THING, lambda _: None)


def assert_complete(broker: Broker, root: Path, *, but: str) -> None:
    """There is one certificate, not the old one, and nothing is left of the way to it."""
    (certificate,) = broker.iot.certificates.values()
    assert certificate["certificateId"] != but
    folder = root / "certs/dev" / THING
    loaded = identity.load(folder)
    broker.check(loaded)
    assert loaded.device.certificate_id == certificate["certificateId"]
    assert broker.iot.policies == {"dev_device": {certificate["certificateArn"]}}
    assert broker.iot.things == {THING: {certificate["certificateArn"]}}
    slots = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(slots) == 1
    left = {path.name for path in folder.iterdir()} - {slots[0].name}
    assert left == {"ca.pem", "certificate.pem", "current", "device.json", "private.key"}


def test_replaces_key_and_certificate_and_deletes_the_old_ones(
    tmp_path: Path, broker: Broker
) -> None:
    before = provisioned(tmp_path, broker.iot)
    old_key = before.key_path.read_bytes()
    after = run(tmp_path, broker.iot)
    assert_complete(broker, tmp_path, but=before.device.certificate_id)
    assert after.key_path.read_bytes() != old_key
    assert not [p for p in after.folder.rglob("*") if p.is_file() and p.read_bytes() == old_key]


def test_proves_the_new_certificate_where_no_data_is_made(tmp_path: Path, broker: Broker) -> None:
    provisioned(tmp_path, broker.iot)
    run(tmp_path, broker.iot)
    assert broker.topics == [names.proof_topic("dev", THING)]


def test_rotates_again_and_again(tmp_path: Path, broker: Broker) -> None:
    seen = {provisioned(tmp_path, broker.iot).device.certificate_id}
    for count in (2, 3, 4):
        last = sorted(broker.iot.certificates)[0]
        seen.add(run(tmp_path, broker.iot).device.certificate_id)
        assert len(seen) == count
        assert_complete(broker, tmp_path, but=last)


def test_provisioning_finds_a_rotated_identity_complete_and_repairs_it(
    tmp_path: Path, broker: Broker
) -> None:
    provisioned(tmp_path, broker.iot)
    rotated = run(tmp_path, broker.iot)
    said: list[str] = []
    provision(environment(tmp_path, broker.iot), THING, said.append)
    assert said == []
    broker.iot.endpoint = "moved.example"
    provisioned(tmp_path, broker.iot)
    again = run(tmp_path, broker.iot)
    assert again.device.endpoint == "moved.example"
    assert_complete(broker, tmp_path, but=rotated.device.certificate_id)


def test_everything_stays_private(tmp_path: Path, broker: Broker) -> None:
    folder = provisioned(tmp_path, broker.iot).folder
    run(tmp_path, broker.iot)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            expected = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(path.stat().st_mode) == expected, path


@pytest.fixture
def killable(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Steps of AWS IoT, of the broker, and of every change of a file."""
    steps = Steps()

    def ticking(of: Any, name: str) -> None:
        original = getattr(of, name)

        def ticked(*arguments: Any, **more: Any) -> Any:
            steps.tick()
            result = original(*arguments, **more)
            steps.tick()
            return result

        monkeypatch.setattr(of, name, ticked)

    ticking(os, "fsync")
    for name in ("replace", "symlink_to", "unlink", "mkdir"):
        ticking(Path, name)
    ticking(shutil, "rmtree")
    return steps


def test_killed_at_any_step_the_identity_works_and_running_it_again_completes(
    tmp_path: Path, broker: Broker, killable: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        killable.run_until(None)
        broker.iot = FakeIot(steps=killable)
        before = provisioned(root, broker.iot)
        killable.run_until(step)
        try:
            run(root, broker.iot)
        except Killed:
            killable.run_until(None)
            broker.check(before)  # whichever pair it is now, the broker takes it
            run(root, broker.iot)
            assert_complete(broker, root, but=before.device.certificate_id)
        else:
            break
    assert step > 80


def test_a_certificate_that_the_broker_refuses_is_not_put_to_use(
    tmp_path: Path, broker: Broker
) -> None:
    before = provisioned(tmp_path, broker.iot)
    broker.refusals = 100
    with pytest.raises(ConnectionRefused):
        run(tmp_path, broker.iot)
    assert identity.load(before.folder).device == before.device
    broker.check(before)
    broker.refusals = 1  # it takes a moment until the broker knows it
    run(tmp_path, broker.iot)
    assert_complete(broker, tmp_path, but=before.device.certificate_id)


def test_a_certificate_that_may_not_publish_is_not_put_to_use(
    tmp_path: Path, broker: Broker
) -> None:
    before = provisioned(tmp_path, broker.iot)
    broker.delivery = PublishResult(PublishOutcome.REFUSED, "not authorized")
    with pytest.raises(AwsError, match="the old one stays in use") as caught:
        run(tmp_path, broker.iot)
    assert caught.value.status is ExitStatus.REFUSED
    assert identity.load(before.folder).device == before.device


def test_an_interrupted_provisioning_comes_first(tmp_path: Path, broker: Broker) -> None:
    folder = provisioned(tmp_path, broker.iot).folder
    (folder / "provisioning.json").write_text("{}")
    with pytest.raises(IdentityError, match="interrupted provisioning"):
        run(tmp_path, broker.iot)


def test_a_thing_that_is_not_here_is_an_error(tmp_path: Path, broker: Broker) -> None:
    with pytest.raises(IdentityError, match="no such folder"):
        run(tmp_path, broker.iot)


def test_the_command_prints_the_folder_and_no_key(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = provisioned(tmp_path, broker.iot)
    keys = [before.key_path.read_text()]
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, broker.iot))
    result = CliRunner().invoke(rotate.main, ["--env", "dev", THING])
    assert result.exit_code == ExitStatus.OK
    assert result.stdout == f"{before.folder}\n"
    keys.append(before.key_path.read_text())
    assert "PRIVATE KEY" not in result.output
    assert not [1 for key in keys for line in key.splitlines()[1:3] if line in result.output]


def test_a_file_that_cannot_be_written_is_one_line_and_the_identity_works(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = provisioned(tmp_path, broker.iot)
    (before.folder / "pair-b").write_text("a file where a folder must be")
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, broker.iot))
    result = CliRunner().invoke(rotate.main, ["--env", "dev", THING])
    assert result.exit_code == ExitStatus.FILE
    assert f"error: cannot use {before.folder}/pair-b: File exists" in result.stderr
    broker.check(before)


def test_provisioning_a_rotated_identity_that_was_revoked_leaves_none_of_its_keys(
    tmp_path: Path, broker: Broker
) -> None:
    provisioned(tmp_path, broker.iot)
    rotated = run(tmp_path, broker.iot)
    key = rotated.key_path.read_bytes()
    for record in broker.iot.certificates.values():
        record["status"] = "REVOKED"
    made = provisioned(tmp_path, broker.iot)
    assert made.key_path.read_bytes() != key
    assert not [p for p in made.folder.rglob("*") if p.is_file() and p.read_bytes() == key]
    old = made.device.certificate_id
    assert run(tmp_path, broker.iot).device.certificate_id != old
