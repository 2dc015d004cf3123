"""``python -m local``: the whole pipeline on this machine.

The stack's data and the identities in ``certs/local`` stay on disk until ``reset``.

The AWS APIs listen on loopback only. The emulator's MQTT listener is bound to every interface,
which it offers no way to change. Devices are held to their policies there, but clients without a
certificate are admitted too: run it behind a firewall.
"""

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import NoReturn

import click
from rich.console import Console

from device import cli
from device.errors import ExitStatus
from local import stack, state
from local.demo import run_demo
from local.state import HOME, IDENTITIES, LOGS, LocalError

_CONSOLE = Console(stderr=True, highlight=False)
if not _CONSOLE.is_terminal:
    _CONSOLE.width = 120  # the width of a log, which is no terminal

_STARTING = (ExitStatus.NO_STACK, ExitStatus.SERVICE)
_STAYS_UP = "python -m local down stops it"


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show ``text`` during a step, and how long the step took."""
    started = time.monotonic()
    with _CONSOLE.status(f"{text} …") if _CONSOLE.is_terminal else contextlib.nullcontext():
        yield
    _CONSOLE.print(f"  [green]✓[/] {text} [dim]({time.monotonic() - started:.1f} s)[/]")


@click.group(cls=cli.Group, context_settings=cli.HELP_OPTIONS, help=__doc__)
def main() -> None:
    """Hold the commands."""
    # A stack that is being started is stopped also when a terminal closes or a supervisor stops us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


@main.command(
    examples=["python -m local up --detach", "python -m local up"],
    statuses=_STARTING,
)
@click.option("--detach", is_flag=True, help="Return as soon as it is up; it stays up.")
def up(*, detach: bool) -> None:
    """Start the emulator, with the data that it had, and deploy the stack into it."""
    if detach:
        running = stack.up(progress, keep=True)
        _tell(running, f"It stays up; {_STAYS_UP}.")
        return
    with contextlib.suppress(KeyboardInterrupt), stack.in_use(progress) as running:
        _tell(running, f"It stays up after Ctrl-C; {_STAYS_UP}." if running.keep else _CTRL_C)
        while stack.current() is not None:
            time.sleep(1)
        raise LocalError(f"the stack has ended; see {LOGS.relative_to(HOME.parent)}")
    if stack.current() is not None:
        cli.say(f"the stack stays up; {_STAYS_UP}")
    else:
        cli.say("stopped; data and identities stay")


_CTRL_C = "Ctrl-C stops it, unless another command uses it; data and identities stay."


def _tell(running: state.State, stop: str) -> None:
    cli.say(
        f"The local stack is up: AWS APIs at {running.endpoint_url}, "
        f"MQTT at localhost:{running.mqtt_port}.\n{stop}\n"
        "Go on with: python -m device.provision --env local my-sensor"
    )


@main.command(
    examples=["python -m local demo", "python -m local demo --keep"],
    statuses=_STARTING,
)
@click.option("--keep", is_flag=True, help="Leave the stack up, to go on with other commands.")
def demo(*, keep: bool) -> None:
    """Show the whole pipeline at work, and check that its sums agree."""
    run_demo(_CONSOLE, progress, keep=keep)
    is_up = stack.current() is not None
    where = "is still up" if is_up else "is down; its data and identities stay"
    steps = [
        *(() if is_up else ("python -m local up --detach",)),
        "python -m ops.query --env local --named latest",
        "python -m device.provision --env local my-sensor",
        "python -m device.publish --env local --thing my-sensor --count 10",
        "python -m ops.doctor --env local my-sensor",
        "python -m local down",
    ]
    cli.say(
        f"\nThe local stack {where}. Go on with:\n"
        + "\n".join(f"  {step}" for step in ("source .venv/bin/activate", *steps))
        + '\nTo deploy it to AWS, read "Deploy to AWS" in README.md.'
    )


@main.command(examples=["python -m local down"])
@click.option("--quiet", is_flag=True, help="Print nothing.")
def down(*, quiet: bool) -> None:
    """Stop the local stack. Its data, and the identities in certs/local, stay."""
    was_up = HOME.exists() and stack.down()
    if not quiet:
        cli.say(
            "stopped; data and identities stay" if was_up else "the local stack was not running"
        )


@main.command(
    examples=["python -m local status", "python -m local status --format json"],
    statuses=[ExitStatus.NO_STACK],
)
@cli.format_option("text", "json")
def status(*, output_format: str) -> None:
    """Print whether the stack is up, and where."""
    running = stack.current()
    roles = sorted(state.running_roles())
    if output_format == "json":
        cli.echo_json({"up": running is not None, **(asdict(running) if running else {})})
    elif running is not None:
        click.echo(f"up: AWS APIs at {running.endpoint_url}, MQTT at localhost:{running.mqtt_port}")
        click.echo(f"logs: {LOGS.relative_to(HOME.parent)}")
    elif roles:
        click.echo(f"broken: of the stack only {', '.join(roles)} runs; run python -m local up")
    else:
        click.echo("down: run python -m local up")
    if running is None:
        raise SystemExit(ExitStatus.NO_STACK)


@main.command(
    examples=["python -m local reset", "python -m local reset --yes"],
    statuses=[ExitStatus.DECLINED],
)
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
def reset(*, yes: bool) -> None:
    """Stop the stack and delete its data, its logs, and the identities in certs/local.

    Asks first. Readings that wait in an identity's spool are deleted with it.
    """
    there = [path for path in (HOME, IDENTITIES) if path.exists()]
    if not there:
        cli.say("there is nothing to delete")
        return
    if not yes:
        listed = " and ".join(str(path.relative_to(HOME.parent)) for path in there)
        cli.confirm(
            f"Delete {listed}: all data of the local stack, its identities, and what waits in "
            "their spools?"
        )
    if HOME.exists():
        stack.down()
    for path in there:
        shutil.rmtree(path)
    cli.say("nothing is left of the local stack")


if __name__ == "__main__":
    main(prog_name="python -m local")
