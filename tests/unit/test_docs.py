"""The README and the docs: every link leads somewhere, every name in them exists."""

import re
import shlex
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from stacks.config import EnvironmentConfig
from tests.unit.test_commands import SINGLE_COMMANDS

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SERVICES = {"s3api": "s3"}  # The AWS CLI's names that differ from those of the SDK.
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"`make ([a-z]+)", page.read_text())) <= TARGETS


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme = PAGES[0].read_text()
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in readme


def test_the_configuration_table_has_every_key() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for key in set(EnvironmentConfig.model_fields) - {"name"}:
        assert f"`{key}`" in page, key


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def check_module(words: list[str]) -> None:
    """Let the command take the words, without running it."""
    depth = 2 if " ".join(words[:2]) in SINGLE_COMMANDS else 1
    for word in words[depth:]:  # the files that the examples read
        if word.endswith((".csv", ".ndjson", ".gz", ".json")) and not word.startswith("-"):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    name = " ".join(words[:depth])
    SINGLE_COMMANDS[name].make_context(name, words[depth:]).close()


def check_aws(words: list[str]) -> None:
    """Look the operation and its parameters up in AWS's own description of the service."""
    service, operation, *options = words
    model = botocore.session.get_session().get_service_model(SERVICES.get(service, service))
    names = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(names[operation]).input_shape
    assert shape is not None
    given = {word[2:].removeprefix("no-") for word in options if word.startswith("--")}
    assert given <= {xform_name(member, "-") for member in shape.members}
    required = {xform_name(member, "-") for member in shape.required_members}
    assert required <= given


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_and_has_the_options_that_are_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in commands(page):
        match shlex.split(line):
            case ["python", "-m", *words]:
                check_module(words[: words.index(">")] if ">" in words else words)
            case ["aws", *words]:
                check_aws(words)
            case ["make", target, *_]:
                assert target in TARGETS, line
            case [program, *_]:
                assert program in {"cdk", "sleep", "source"}, line
