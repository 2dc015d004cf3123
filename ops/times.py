"""Times on the command line, and times in what is shown."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click


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
