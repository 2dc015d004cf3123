"""Every command of the project: it helps, and the README names it."""

import importlib
import pkgutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()


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


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_readme_shows_every_command(name: str) -> None:
    assert f"python -m {name} " in README
