"""Times on the command line."""

import json
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
