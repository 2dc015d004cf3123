"""Read the cells of a CSV file: the contract says what a cell is.

A cell is text for a string, a time for a time field, and JSON for everything else; a boolean may
also be written as Excel and pandas write it. A cell that is not of its field's type stays text, and
the check then rejects the reading.
"""

from collections.abc import Callable
from datetime import tzinfo
from functools import partial
from typing import Any, Literal

import msgspec

from contracts import Schema
from device.readings import times
from device.readings.check import parse_json

_NUMBERS = (int, float)
_BOOLEANS = {"TRUE": True, "True": True, "FALSE": False, "False": False}


def reader(schema: Schema, zone: tzinfo | None) -> Callable[[str], Any]:
    """Return the function that turns a cell into a value of ``schema``.

    Args:
        schema: Of the field.
        zone: Time zone of times without an offset. The function raises ``times.TimeError`` for
            these if it is None.
    """
    if schema.timestamp is not None:
        return partial(_timestamp, unit=schema.timestamp, zone=zone)
    if schema.date_time:
        return partial(_date_time, zone=zone)
    if schema.kind == "boolean":
        return boolean
    return str if schema.kind == "string" else _json


def _timestamp(cell: str, *, unit: Literal["ms", "s"], zone: tzinfo | None) -> Any:
    number = _json(cell)
    if not isinstance(number, str):
        return number
    moment = times.epoch(cell, unit, zone)
    return number if moment is None else moment


def _date_time(cell: str, *, zone: tzinfo | None) -> str:
    return times.rfc_3339(cell, zone) or cell


def boolean(cell: str) -> Any:
    """The boolean in a cell; otherwise its JSON value, or the cell itself if it is not JSON."""
    return _BOOLEANS[cell] if cell in _BOOLEANS else _json(cell)


def _json(cell: str) -> Any:
    try:
        value = msgspec.json.decode(cell)
        if type(value) in _NUMBERS:  # quickly: they are most cells, and no key is in them twice
            return value
        return parse_json(cell.encode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return cell
