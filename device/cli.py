"""What every device command does alike: how it reports an error and an interruption."""

from collections.abc import Callable
from typing import Any

import click

from contracts import names
from device.errors import DeviceError, ExitStatus


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
