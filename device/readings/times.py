"""Read times as people and programs write them, for a contract's fields that hold a time.

Pure: the text and a time zone decide.
"""

import json
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<time>([01]\d|2[0-3]):[0-5]\d)(?P<seconds>:[0-5]\d)?"
    r"([.,](?P<fraction>\d+))? ?(?P<offset>Z|z|UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?",
    re.ASCII,
)
_OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):?(?P<minutes>[0-5]\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class TimeError(ValueError):
    """A time that names several moments or none; the message is ``expected …, got …``."""


def time_zone(name: str) -> tzinfo:
    """Return the time zone of ``name``: ``UTC``, an offset such as +02:00, or Europe/Berlin.

    Raises:
        ValueError: There is no such time zone on this machine.
    """
    if name.upper() in {"UTC", "Z"}:
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
        return timezone(offset if match["sign"] == "+" else -offset)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, not a name, or a folder
        raise ValueError(
            "expected a time zone such as UTC, Europe/Berlin or +02:00, "
            f"got {json.dumps(name)}, which this machine does not know"
        ) from None


def epoch(text: str, unit: Literal["ms", "s"], zone: tzinfo | None) -> int | None:
    """Return the moment that ``text`` names, counted from the Unix epoch; finer digits are cut off.

    Args:
        text: ``2026-11-25 04:42:40.123Z`` and the like, with a T or a blank, with or without
            seconds, a fraction and an offset.
        unit: What to count: milliseconds or seconds.
        zone: Time zone of a time without an offset; None if it is not known.

    Returns:
        None if ``text`` is not a time.

    Raises:
        TimeError: It has no offset, and ``zone`` is None or has this time twice or never.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    moment = _moment(match, zone)
    if moment is None:
        return None
    seconds = (moment - _EPOCH) // _SECOND
    return seconds if unit == "s" else 1000 * seconds + int(f"{match['fraction'] or 0:0<3}"[:3])


def rfc_3339(text: str, zone: tzinfo | None) -> str | None:
    """Return the moment that ``text`` names as an RFC 3339 date-time in UTC, with all digits.

    Arguments, None and errors are those of ``epoch``.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    moment = _moment(match, zone)
    if moment is None:
        return None
    fraction = f".{match['fraction']}" if match["fraction"] else ""
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"


def _moment(match: re.Match[str], zone: tzinfo | None) -> datetime | None:
    """Return the moment in UTC, to the second; None if there is no such day."""
    try:
        moment = datetime.fromisoformat(f"{match['day']}T{match['time']}{match['seconds'] or ''}")
    except ValueError:
        return None
    offset = match["offset"]
    if offset is not None:
        zone = UTC if offset in {"Z", "z", "UTC"} else time_zone(offset.ljust(5, "0"))
    elif zone is None:
        raise TimeError(
            "expected a time with its offset, or --time-zone for those without, "
            f"got {json.dumps(match.group())}"
        )
    moment = moment.replace(tzinfo=zone)
    try:
        if offset is None and moment.utcoffset() != moment.replace(fold=1).utcoffset():
            raise TimeError(
                f"expected a time that {zone} has once, got {json.dumps(match.group())}; "
                "give its offset"
            )
        return moment.astimezone(UTC)
    except OverflowError:  # not within the years 1 to 9999 in UTC
        return None
