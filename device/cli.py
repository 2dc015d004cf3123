"""What every device command does alike: how it reports an error and an interruption."""

import click

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
