"""contracts.revisions: a contract as git knows it, and one line where git knows none."""

import json
import subprocess
from pathlib import Path

import pytest

from contracts import ContractError
from contracts.revisions import RevisionError, load_at


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True
    )


def document(name: str) -> str:
    return json.dumps({"type": "object", "properties": {name: {"type": "string"}}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "product" / "contracts"
    made.mkdir(parents=True)
    git(tmp_path, "init", "--quiet")
    for name in ("one", "two"):
        (made / "test.json").write_text(document(name))
        (made / "broken.json").write_text("{")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "--message", name)
    (made / "test.json").write_text(document("not_committed"))
    return made


@pytest.mark.parametrize(("revision", "field"), [("HEAD", "two"), ("HEAD~1", "one")])
def test_reads_the_contract_as_it_was(folder: Path, revision: str, field: str) -> None:
    found = load_at("test", revision, folder)
    assert found is not None
    assert [each.name for each in found.fields] == [field]


def test_a_contract_that_was_not_there_is_none(folder: Path) -> None:
    assert load_at("other", "HEAD", folder) is None


@pytest.mark.parametrize("revision", ["nothing", "", "--output=x", "HEAD:", "-h", "HEAD\n"])
def test_what_is_no_revision_is_one_line(folder: Path, revision: str) -> None:
    with pytest.raises(RevisionError, match="expected a revision") as raised:
        load_at("test", revision, folder)
    assert "\n" not in str(raised.value)


def test_a_contract_that_was_broken_says_when(folder: Path) -> None:
    with pytest.raises(ContractError, match=r"at HEAD: broken\.json"):
        load_at("broken", "HEAD", folder)


def test_a_folder_outside_a_repository_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="expected a revision"):
        load_at("test", "HEAD", tmp_path)


def test_a_machine_without_git_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(RevisionError, match="expected git"):
        load_at("test", "HEAD", folder)
