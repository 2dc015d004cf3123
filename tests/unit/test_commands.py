"""Every command of the project: it helps, has examples, and the docs name it."""

import importlib
import pkgutil
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from device import cli

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))


def _commands() -> dict[str, click.Command]:
    """``python -m`` name → command, for every module that has one."""
    found = {}
    for package in ("device", "ops", "local"):
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            main = getattr(importlib.import_module(module.name), "main", None)
            if isinstance(main, click.Command):
                found[module.name.removesuffix(".__main__")] = main
    return found


COMMANDS = _commands()


def test_finds_the_commands() -> None:
    assert {"device.provision", "device.publish", "ops.query", "ops.parse", "local"} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_for_itself_and_each_option(name: str) -> None:
    result = CliRunner().invoke(COMMANDS[name], ["--help"])
    assert result.exit_code == 0
    command = COMMANDS[name]
    everything = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    for one in everything:
        assert one.help, one.name
        for parameter in one.params:
            if isinstance(parameter, click.Option) and parameter.name != "help":
                assert parameter.help, f"{one.name} {parameter.opts}"


def _single_commands() -> dict[str, click.Command]:
    """``python -m`` line → command, with the subcommands of groups."""
    found: dict[str, click.Command] = {}
    for name, command in COMMANDS.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": each for sub, each in command.commands.items()}
        else:
            found[name] = command
    return found


SINGLE_COMMANDS = _single_commands()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_docs_show_every_command(name: str) -> None:
    assert f"python -m {name} " in DOCS


@pytest.mark.parametrize("name", sorted(SINGLE_COMMANDS))
def test_every_command_helps_with_a_short_option_examples_and_exit_statuses(name: str) -> None:
    result = CliRunner().invoke(SINGLE_COMMANDS[name], ["-h"])
    assert result.exit_code == 0
    assert f"python -m {name}" in result.output.partition("Examples:")[2]
    assert "Exit status:" in result.output


@pytest.mark.parametrize("name", sorted(SINGLE_COMMANDS))
def test_every_example_is_one_that_the_command_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = SINGLE_COMMANDS[name]
    assert isinstance(command, cli.Command)
    for example in command.examples:
        words = shlex.split(example.partition(f"python -m {name}")[2])
        for word in words:  # the files that the examples read
            if word.endswith((".csv", ".ndjson", ".gz", ".json")) and not word.startswith("-"):
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
        command.make_context(name, words).close()
