"""What every command does the same way: how it reports errors, interruption and progress."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import click
from rich import progress as rich_progress
from rich.console import Console

from contracts import names
from device.errors import DeviceError, ExitStatus

_PLAIN_INTERVAL_SECONDS = 10.0


class Command(click.Command):
    """A command whose errors are one line on stderr, ``error: …``, and an ``ExitStatus``."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; never show a traceback for what a person can mend."""
        try:
            return super().invoke(ctx)
        except DeviceError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.status)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again to complete it", err=True)
            ctx.exit(ExitStatus.INTERRUPTED)


def thing_name(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Take only what AWS IoT takes as a thing's name; a click callback."""
    try:
        return value if value is None else names.check_thing_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def customer_option(text: str) -> Callable[[Any], Any]:
    """The option ``--customer NAME``; hand its value to ``check_customer``."""
    return click.option("--customer", metavar="NAME", help=text)


def check_customer(environment: str, thing_name: str, customer: str | None) -> None:
    """Take only what has a topic, a client id and a policy that AWS IoT takes.

    Raises:
        click.UsageError: It has not.
    """
    try:
        if customer is not None:
            names.check_customer(environment, thing_name, customer)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def say(line: str) -> None:
    """Tell a person what was done, on stderr."""
    click.echo(line, err=True)


class Progress:
    """How far a command has come; a context manager.

    Args:
        total: How many steps there will be; None: nobody knows.
    """

    def __init__(self, total: int | None) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar: rich_progress.Progress | None = None
        if sys.stderr.isatty():
            self._bar = rich_progress.Progress(
                rich_progress.BarColumn(),
                rich_progress.TaskProgressColumn(show_speed=True),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=total)
        self._next_line = time.monotonic() + _PLAIN_INTERVAL_SECONDS

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, text: str) -> None:
        """``done`` steps are done, and ``text`` says it in words."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _PLAIN_INTERVAL_SECONDS
            self.say(text)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._console.print(line, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # to wherever stderr is now
