"""The one way in which this package writes JSON for machines: UTF-8, without blanks."""

import json
from collections.abc import Callable

import msgspec


def encode(value: object, *, default: Callable[[object], object] | None = None) -> bytes:
    """Return ``value`` as JSON.

    Args:
        value: What to encode.
        default: Called with a value that JSON does not have; returns one that it has.

    Raises:
        ValueError: It holds NaN, Infinity or itself. A ``UnicodeEncodeError`` if a string holds
            half of a surrogate pair.
        TypeError: It holds a value that JSON does not have.
        RecursionError: It is nested too deeply.
    """
    # msgspec is many times as fast as json, but turns NaN, a Decimal, a time and the like into
    # something else. Such a text does not give the same value back, and json decides.
    try:
        text = msgspec.json.encode(value)
        if msgspec.json.decode(text) == value:
            return text
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=default
    ).encode()
