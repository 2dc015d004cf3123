"""Times on the command line, and times in what is shown."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from device import cli

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DEFAULT = timedelta(hours=1)


class Moment(click.ParamType[datetime]):
    """A time such as 2026-11-25 or 2026-11-25T10:30; in UTC unless it names its offset."""

    name = "time"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> datetime:
        """Read an ISO 8601 time."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"expected a time such as 2026-11-25 or 2026-11-25T10:30, got {json.dumps(value)}",
                parameter,
                context,
            )


def span_options(*, required: bool) -> Callable[[_Command], _Command]:
    """The options ``--from`` and ``--to``; pass ``start`` and ``end`` to ``span``."""
    from_help, to_help = "Earliest arrival, UTC", "Latest arrival, exclusive"
    if not required:
        from_help += "; the default is one hour before --to"
        to_help += "; the default is now"

    def decorate(command: _Command) -> _Command:
        for option, name, text in (("--to", "end", to_help), ("--from", "start", from_help)):
            command = click.option(
                option, name, type=Moment(), metavar="TIME", required=required, help=f"{text}."
            )(command)
        return command

    return decorate


def span(start: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """The time from ``start``, by default an hour before its end, to ``end``, by default ``now``.

    Raises:
        click.UsageError: It does not end after its start.
    """
    end = end or now
    start = start or end - _DEFAULT
    if start >= end:
        raise click.UsageError(
            f"expected --from before --to, got {cli.utc(start)} and {cli.utc(end)}"
        )
    return start, end


def milliseconds(moment: datetime) -> str:
    """A moment with milliseconds: ``2026-11-25 10:30:00.123Z``."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03}Z"


def shown(value: Any, form: Callable[[datetime], str] = milliseconds) -> Any:
    """A value in which each time is text, as JSON needs it; lists and objects included."""
    if isinstance(value, dict):
        return {key: shown(each, form) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(each, form) for each in value]
    return form(value) if isinstance(value, datetime) else value
