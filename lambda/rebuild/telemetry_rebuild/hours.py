"""An hour of arrival, and the keys that belong to it.

Pure, standard library only.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self

DAY_MS = 86_400_000

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d", re.ASCII)
_EPOCH = date(1970, 1, 1)


class HourError(ValueError):
    """The text names no hour; the message says what is expected."""


@dataclass(frozen=True, slots=True, order=True)
class Hour:
    """One UTC hour in which raw objects of a channel arrived.

    Attributes:
        start: Its first moment, in UTC.
    """

    start: datetime

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``yyyy-MM-ddTHH``.

        Raises:
            HourError: It has another form, or is no hour of the calendar.
        """
        try:
            if _FORM.fullmatch(text):
                return cls(datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC))
        except ValueError:
            pass
        raise HourError(f"expected an hour yyyy-MM-ddTHH, got {text!r}")

    def __str__(self) -> str:
        return self.start.strftime("%Y-%m-%dT%H")

    @property
    def start_ms(self) -> int:
        """Its first moment in milliseconds since the Unix epoch."""
        return round(self.start.timestamp()) * 1000

    @property
    def end_ms(self) -> int:
        """The first moment after it."""
        return self.start_ms + DAY_MS // 24

    @property
    def day(self) -> int:
        """Its UTC day, counted from 1970-01-01."""
        return self.start_ms // DAY_MS

    def raw_prefix(self, channel: str) -> str:
        """Where the raw objects of the hour are."""
        return f"raw/{channel}/{self.start:dt=%Y-%m-%d/hour=%H}/"

    def daily_key(self, channel: str, day: int, number: int) -> str:
        """The key of one daily object.

        Args:
            channel: The contract's name.
            day: UTC day of the readings in it, counted from 1970-01-01.
            number: 1 for the first object of that day, then 2, 3 and so on.
        """
        suffix = "" if number == 1 else f"-{number}"
        return f"daily/{channel}/day={_EPOCH + timedelta(days=day)}/{self}{suffix}.parquet"

    def manifest_key(self, channel: str) -> str:
        """The key of the hour's manifest."""
        return f"manifests/{channel}/{self}.json"
