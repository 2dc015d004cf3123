"""What all commands share: options, help, output, errors and progress."""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Self

import click
from rich import progress as rich_progress
from rich.console import Console

import contracts
from contracts import names
from device import environments, streams
from device.errors import DeviceError, ExitStatus

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

_ANY_COMMAND = (ExitStatus.OK, ExitStatus.USAGE, ExitStatus.FILE, ExitStatus.INTERRUPTED)

# The exit statuses of a command that calls AWS.
AWS_STATUSES = (
    *(ExitStatus.UNREACHABLE, ExitStatus.CREDENTIALS, ExitStatus.FORBIDDEN),
    *(ExitStatus.NO_STACK, ExitStatus.ENVIRONMENT, ExitStatus.SERVICE),
)

_PLAIN_INTERVAL_SECONDS = 10.0


class _Program:
    """What commands and groups of commands share when they run as a program."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program, on streams whose errors do not stop it."""
        streams.open_all()
        own, interrupt = (sys.stdout, sys.stderr), signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout, sys.stderr = map(streams.unbreakable, own)
        try:
            return super().main(*args, **kwargs)  # type: ignore[misc]  # mixed into click's classes
        except SystemExit as end:
            sys.stdout.flush()
            if end.code or not streams.stdout_is_incomplete():
                raise
            raise SystemExit(ExitStatus.FILE) from None
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = own
            signal.signal(signal.SIGINT, interrupt)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Make the context; NO_COLOR turns colours off (https://no-color.org)."""
        if os.environ.get("NO_COLOR"):
            kwargs["color"] = False
        return super().make_context(*args, **kwargs)  # type: ignore[misc,no-any-return]  # as above


class Command(_Program, click.Command):
    """A command whose errors are one line on stderr, ``error: …``, and an ``ExitStatus``.

    Args:
        examples: Command lines, printed at the end of the help text.
        statuses: The exit statuses that the command can end with, in addition to 0, 2, 22 and 130.
    """

    def __init__(
        self,
        *args: Any,  # click's own
        examples: Sequence[str] = (),
        statuses: Sequence[ExitStatus] = (),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("context_settings", HELP_OPTIONS)
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.statuses = sorted({*_ANY_COMMAND, *statuses})

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; never show a traceback for an error that a person can fix."""
        try:
            return super().invoke(ctx)
        except DeviceError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.status)
        except contracts.ContractError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(ExitStatus.USAGE)
        except OSError as error:
            # An error of writing to an open file has no file name.
            if error.filename is None and error.errno not in _DISK_ERRORS:
                raise
            what = "use" if error.filename else "write"
            name = error.filename or "a file"
            click.echo(f"error: cannot {what} {name}: {error.strerror}", err=True)
            ctx.exit(ExitStatus.FILE)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again to complete it", err=True)
            ctx.exit(ExitStatus.INTERRUPTED)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the examples and the exit statuses."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(status)), status.meaning) for status in self.statuses])


class Group(_Program, click.Group):
    """A group of ``Command``s."""

    command_class = Command


def environment_option(*, required: bool = True) -> Callable[[Any], Any]:
    """The option ``--env ENV``; the function's parameter is ``environment``."""
    return click.option(
        "--env",
        "environment",
        metavar="ENV",
        required=required,
        callback=_environment,
        help="Environment of cdk.json, such as dev; local is the stack on this machine.",
    )


def _environment(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Check that the environment exists, if this machine has a cdk.json."""
    known = environments.known()
    if value is None or not known or value in known:
        return value
    raise _NoEnvironment(
        f"expected an environment of cdk.json ({', '.join(known)}), got {json.dumps(value)}"
    )


class _NoEnvironment(click.ClickException):
    """An environment that does not exist, found while click reads the command line."""

    exit_code = ExitStatus.ENVIRONMENT

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it like every other error."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


def channel_option(text: str = "Contract (channel) of the readings.") -> Callable[[Any], Any]:
    """The option ``--channel CHANNEL``, by default telemetry."""
    return click.option(
        "--channel",
        type=click.Choice(contracts.channels()),
        default="telemetry",
        show_default=True,
        help=text,
    )


def format_option(*formats: str, text: str = "Format of stdout.") -> Callable[[Any], Any]:
    """The option ``--format``; the first of ``formats`` is the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help=text,
    )


def thing_name(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    """Check that AWS IoT accepts the thing's name; a click callback."""
    try:
        return value if value is None else names.check_thing_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def customer_option(text: str) -> Callable[[Any], Any]:
    """The option ``--customer NAME``; pass its value to ``check_customer``."""
    return click.option("--customer", metavar="NAME", help=text)


def check_customer(environment: str, thing_name: str, customer: str | None) -> None:
    """Check that AWS IoT accepts the names of the customer's topic, client id and policy.

    Raises:
        click.UsageError: One of them is too long or has a character that is not allowed.
    """
    try:
        if customer is not None:
            names.check_customer(environment, thing_name, customer)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def confirm(question: str) -> None:
    """Ask ``question`` on stderr; return only if the answer is yes.

    Raises:
        SystemExit: The answer is no.
        KeyboardInterrupt: Ctrl-C.
        click.UsageError: Nobody can answer, as stdin has ended.
    """
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        say("")
        raise click.UsageError("expected an answer on stdin; --yes goes on without one") from None
    if not agreed:
        say("nothing was changed")
        raise SystemExit(ExitStatus.DECLINED)


def say(line: str) -> None:
    """Print a line for people on stderr."""
    click.echo(line, err=True)


def echo_json(value: object) -> None:
    """Print one JSON document on one line, in characters that stdout can encode."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json_line(value, ascii_only=not is_utf8))


def json_line(value: object, *, ascii_only: bool = False) -> str:
    """One line of JSON. Control characters are escaped, so that none reaches a terminal."""
    text = json.dumps(value, ensure_ascii=ascii_only, default=str)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 reading``, ``1,200 readings``, ``2 batches``."""
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
    return f"{count:,} {plural}"


def utc(moment: datetime) -> str:
    """A moment as every command prints it: ``2026-11-25 04:42:40Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


class Progress:
    """Shows the progress of a command on stderr; a context manager.

    Args:
        total: Number of steps; None if it is not known.
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
        """Show that ``done`` steps are done; ``text`` describes the progress."""
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
            print(line, file=sys.stderr, flush=True)  # the stderr of this moment
