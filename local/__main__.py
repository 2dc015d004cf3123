"""``python -m local``: the whole pipeline on this machine.

The AWS APIs listen on loopback only. The emulator's MQTT listener is bound to every interface,
which it offers no way to change. Devices are held to their policies there, but clients without a
certificate are admitted too: behind a firewall is the place for it.
"""

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import NoReturn

import click
from rich.console import Console

from device import cli
from local import stack, state
from local.demo import run_demo
from local.state import HOME, LOGS, ROOT, LocalError

_CONSOLE = Console(stderr=True, highlight=False)
if not _CONSOLE.is_terminal:
    _CONSOLE.width = 120  # a log has no edge to wrap at


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show ``text`` while something takes its time, and how long it took."""
    started = time.monotonic()
    with _CONSOLE.status(f"{text} …") if _CONSOLE.is_terminal else contextlib.nullcontext():
        yield
    _CONSOLE.print(f"  [green]✓[/] {text} [dim]({time.monotonic() - started:.1f} s)[/]")


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group(cls=cli.Group, context_settings=cli.HELP_OPTIONS, help=__doc__)
def main() -> None:
    """Hold the commands."""
    # What is up must come down also when a terminal closes or a supervisor stops us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


@main.command()
@click.option("--detach", is_flag=True, help="Return once it is up, and leave it up.")
def up(*, detach: bool) -> None:
    """Start the emulator and deploy the stack into it."""
    if detach:
        _tell(stack.up(progress, keep=True), "python -m local down")
        return
    with contextlib.suppress(KeyboardInterrupt), stack.in_use(progress) as running:
        _tell(running, "Ctrl-C")
        while stack.current() is not None:
            time.sleep(1)
        raise LocalError(f"the stack has ended; see {LOGS.relative_to(ROOT)}")


def _tell(running: state.State, stop: str) -> None:
    _say(
        f"The local stack is up: AWS APIs at {running.endpoint_url}, "
        f"MQTT at localhost:{running.mqtt_port}.\n"
        "Go on with: python -m device.provision --env local my-sensor\n"
        f"Stop it with: {stop}"
    )


@main.command()
@click.option("--keep", is_flag=True, help="Leave the stack up, to go on with other commands.")
def demo(*, keep: bool) -> None:
    """Show the whole pipeline at work, and check that its sums agree."""
    run_demo(_CONSOLE, progress, keep=keep)
    if keep:
        _say(
            "The stack stays up. Go on with:\n"
            "  python -m device.provision --env local my-sensor\n"
            "  python -m device.publish --env local --thing my-sensor --count 10\n"
            "  python -m ops.query --env local --named latest\n"
            "and stop it with: python -m local down"
        )


@main.command()
@click.option("--quiet", is_flag=True, help="Say nothing.")
def down(*, quiet: bool) -> None:
    """Stop the local stack. Its data, and the identities in certs/local, are gone then."""
    was_up = HOME.exists() and stack.down()
    if not quiet:
        _say("stopped" if was_up else "the local stack was not running")


@main.command()
@cli.format_option("text", "json")
def status(*, output_format: str) -> None:
    """Say whether the stack is up and where; the exit status is 1 if it is not."""
    running = stack.current()
    roles = sorted(state.running_roles())
    if output_format == "json":
        click.echo(json.dumps({"up": running is not None, **(asdict(running) if running else {})}))
    elif running is not None:
        click.echo(f"up: AWS APIs at {running.endpoint_url}, MQTT at localhost:{running.mqtt_port}")
        click.echo(f"logs: {LOGS.relative_to(ROOT)}")
    elif roles:
        click.echo(f"broken: of the stack only {', '.join(roles)} runs; run python -m local up")
    else:
        click.echo("down: run python -m local up")
    if running is None:
        raise SystemExit(1)


@main.command()
def reset() -> None:
    """Stop the stack and remove all that it left: logs, certificates, results."""
    if HOME.exists():
        stack.down()
        shutil.rmtree(HOME)
    _say("nothing is left of the local stack")


if __name__ == "__main__":
    main(prog_name="python -m local")
