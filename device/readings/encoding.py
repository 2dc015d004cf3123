"""Encode a Python program's reading as JSON, and refuse values that JSON cannot express."""

from collections.abc import Mapping
from typing import Any

from device import compact_json
from device.readings.check import ReadingError


def encode(reading: Mapping[str, Any]) -> bytes:
    """Return ``reading`` as one JSON object in UTF-8, without blanks.

    Mappings, lists, tuples, strings, numbers, booleans and None are encoded. Nothing else is
    converted: there are several ways to write a Decimal or a time, and the program must choose one.

    Raises:
        ReadingError: It is not a mapping, or holds a value that JSON does not have: NaN, Infinity,
            half a surrogate pair, another type, itself, or too many levels.
    """
    if not isinstance(reading, Mapping):
        raise ReadingError(
            f"$: expected one reading, a mapping, got {_type_name(reading)}; "
            "put several readings one by one"
        )
    try:
        return compact_json.encode(reading, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        reason = _reason(error)
    for name, value in reading.items():  # find the field, now that there is time
        try:
            compact_json.encode({name: value}, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise ReadingError(f"{_path(name)}: {_reason(error)}") from None
    raise ReadingError(f"$: {reason}")


def _plain(value: object) -> dict[Any, Any]:
    """Convert what ``json`` does not know: a mapping that is not a dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"expected a value that JSON has, got {_type_name(value)}")


def _path(name: object) -> str:
    if not isinstance(name, str):
        return f"$: a name that is not text ({_type_name(name)})"
    return "$." + name.encode("utf-8", "backslashreplace").decode()


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "a string holds half a surrogate pair"
    text = str(error)
    if "JSON compliant" in text:
        return "expected a number that JSON has, got NaN or Infinity"
    if "Circular reference" in text:
        return "it contains itself"
    return text


def _type_name(value: object) -> str:
    return type(value).__name__
