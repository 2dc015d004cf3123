"""Intervals as contracts write them: ``10m``, ``2h``. Standard library only."""

import re
from datetime import timedelta

EXPECTED = 'minutes or hours, at most a day, such as "10m" or "2h"'
_FORM = re.compile(r"([1-9][0-9]{0,3})([mh])")
_UNITS = {"m": "minutes", "h": "hours"}


def parse_interval(text: object) -> timedelta | None:
    """The interval that ``text`` means; None if it is not ``EXPECTED``."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    interval = timedelta(**{_UNITS[found[2]]: int(found[1])})
    return interval if interval <= timedelta(days=1) else None
