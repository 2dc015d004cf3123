"""The README and the docs: every link leads somewhere, every name in them exists."""

import re
from pathlib import Path

import pytest

from stacks.config import EnvironmentConfig

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
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
