"""device.identity: what counts as an identity, and how its files are written."""

import json
import stat
from pathlib import Path

import pytest

from device import files, identity
from device.errors import IdentityError
from device.registry.registration import provision
from tests.unit.device.fakes import FakeIot, environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None).folder


def test_discarding_leaves_nothing_but_the_spool(folder: Path) -> None:
    (folder / "spool").mkdir()
    (folder / "spool" / "spool.db").write_text("readings")
    identity.discard(folder)
    assert [path.name for path in folder.iterdir()] == ["spool"]
    assert (folder / "spool" / "spool.db").read_text() == "readings"


def test_reads_what_provisioning_wrote(folder: Path) -> None:
    loaded = identity.load(folder)
    assert loaded.folder == folder
    assert json.loads((folder / "device.json").read_text())["thing_name"] == "sensor-1"


def test_a_missing_folder_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"run python -m device\.provision --env ENV THING"):
        identity.load(tmp_path / "none")


@pytest.mark.parametrize("name", ["certificate.pem", "private.key", "ca.pem", "device.json"])
def test_names_the_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(IdentityError, match=name):
        identity.load(folder)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"port": 1}', '{"\\ud800": 1}'],
    ids=["empty", "array", "nothing", "not enough", "surrogate"],
)
def test_refuses_another_description(folder: Path, content: str) -> None:
    (folder / "device.json").write_text(content)
    with pytest.raises(IdentityError, match=r"expected an identity's device\.json"):
        identity.load(folder)


def test_refuses_a_description_of_other_types(folder: Path) -> None:
    content = json.loads((folder / "device.json").read_text())
    (folder / "device.json").write_text(json.dumps({**content, "port": "8883"}))
    with pytest.raises(IdentityError, match="expected port to be int, got '8883'"):
        identity.load(folder)


def test_refuses_a_key_and_a_certificate_that_are_not_a_pair(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    other = provision(environment(tmp_path / "two", FakeIot()), "sensor-1", lambda _: None)
    (folder / "private.key").write_bytes(other.key_path.read_bytes())
    with pytest.raises(IdentityError, match="got the certificate of another key"):
        identity.load(folder)


def test_never_quotes_a_broken_key(folder: Path) -> None:
    (folder / "private.key").write_text("-----BEGIN PRIVATE KEY-----\nhalf of a secret\n")
    with pytest.raises(IdentityError) as caught:
        identity.load(folder)
    assert "secret" not in str(caught.value)


def test_a_link_that_waits_in_the_way_of_a_private_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / ".private.key.new").symlink_to(victim)
    files.write_private(tmp_path / "private.key", b"content")
    assert victim.read_text() == "theirs"
    assert not (tmp_path / "private.key").is_symlink()
    assert (tmp_path / "private.key").read_bytes() == b"content"


def test_no_private_file_is_opened_through_a_link_that_comes_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, temporary = tmp_path / "victim", tmp_path / ".private.key.new"
    victim.write_text("theirs")
    unlink = Path.unlink

    def and_link_again(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path == temporary:
            path.symlink_to(victim)

    monkeypatch.setattr(Path, "unlink", and_link_again)
    with pytest.raises(IdentityError, match="File exists"):
        files.write_private(tmp_path / "private.key", b"content")
    assert victim.read_text() == "theirs"


def test_a_missing_identity_is_named_in_the_users_own_words(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"provision --env dev sensor-9 --customer acme$"):
        identity.load(tmp_path / "certs" / "dev" / "sensor-9.acme")


def test_a_private_file_replaces_another_that_was_public(tmp_path: Path) -> None:
    path = tmp_path / "private.key"
    (tmp_path / ".private.key.new").write_text("left by a killed run, and longer")
    (tmp_path / ".private.key.new").chmod(0o644)
    files.write_private(path, b"content")
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
