"""Check that a reading fits its contract, before it is sent, with the parser's own checker.

The device is stricter than the parser in one point: it refuses a key that appears twice in one
object, since a reader may take either value.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from contracts import Contract
from contracts.packed import is_packed, split
from contracts.reading import ReadingChecker, check_utf8, text_at
from device.readings.hints import UnknownFieldCounter, other_unit, similar_name

_SHOWN_CHARACTERS = 60


class ReadingError(ValueError):
    """A payload does not fit the contract; the message is ``path: expected …, got …``."""


class ReadingCheck:
    """Checks payloads against a contract.

    Args:
        contract: Contract of the readings.
        warn: Called once for each field that the contract does not have; readings may have such
            fields, but nothing after the raw data keeps them.

    Attributes:
        unknown_fields: The names of these fields, counted.
    """

    def __init__(self, contract: Contract, *, warn: Callable[[str], None] | None = None) -> None:
        self._checker = ReadingChecker(contract)
        self.unknown_fields = UnknownFieldCounter(contract.schema, warn)

    def check(self, payload: bytes) -> None:
        """Check that ``payload`` is a reading, or an array of readings.

        Raises:
            ReadingError: Names the JSON path of the first violation.
        """
        is_array = is_packed(payload)
        try:
            check_utf8(payload)
            value = (self._checker.many if is_array else self._checker.one).decode(payload)
            self.unknown_fields.note(_parsed(payload))
        except msgspec.ValidationError as error:
            raise ReadingError(self._explained(error, payload)) from None
        except (ValueError, RecursionError) as error:
            raise (is_array and _first_not_json(payload)) or _not_json(error) from None
        if is_array and not value:
            raise ReadingError("$: expected a reading, got an empty array")

    def _explained(self, error: msgspec.ValidationError, payload: bytes) -> str:
        reason, path = self._checker.violation(error)
        expected, _, _ = reason.partition(", got ")
        got = text_at(payload, path)
        if got is None:
            _check_json(payload)
            return f"{path}: {reason}{self._name_hint(payload, path)}"
        return f"{path}: {expected}, got {_shortened(got)}{self._unit_hint(path, got)}"

    def _unit_hint(self, path: str, got: str) -> str:
        schema = self._checker.schema_at(path)
        if schema is None or not got.lstrip("-").isdecimal() or len(got) > _SHOWN_CHARACTERS:
            return ""
        unit = other_unit(schema, int(got))
        return "" if unit is None else f"; this looks like {unit}"

    def _name_hint(self, payload: bytes, path: str) -> str:
        """Name the field that may have been meant for the missing one."""
        parent, _, name = path.rpartition(".")
        schema, there = self._checker.schema_at(parent), text_at(payload, parent)
        if schema is None or there is None:
            return ""
        known = {field.name for field in schema.fields}
        similar = similar_name(
            name, msgspec.json.decode(there, type=dict[str, msgspec.Raw]).keys() - known
        )
        return "" if similar is None else f"; the reading has {json.dumps(similar)}"


def parse_json(payload: bytes) -> Any:
    """Parse ``payload`` as JSON that every reader understands alike.

    That is UTF-8, without NaN, Infinity, a key twice in one object, or half a surrogate pair.

    Raises:
        ReadingError: It is not that.
    """
    try:
        msgspec.json.decode(payload)
        return _JSON.decode(payload.decode())
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _parsed(payload: bytes) -> Any:
    """Return the value of a JSON text that a decoder has accepted.

    Raises:
        ValueError: A key appears twice in one object.
    """
    try:
        value = msgspec.json.decode(payload)
        # Each key has a colon after it. If there are no other colons, no key appears twice.
        if type(value) is dict and payload.count(b":") == len(value):
            return value
    except msgspec.ValidationError:  # a number beyond 64 bits in a field that the contract lacks
        pass
    return _JSON.decode(payload.decode())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return value


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _check_json(payload: bytes) -> None:
    """Check the whole text: one that is cut short may break the contract before it ends.

    Raises:
        ReadingError: It is not JSON.
    """
    try:
        parse_json(payload)
    except ReadingError as error:
        raise _first_not_json(payload) or error from None


def _first_not_json(array: bytes) -> ReadingError | None:
    """Find the reading that is not JSON; None if the boundaries of readings cannot be told."""
    try:
        for index, item in enumerate(tuple(split(array))):
            try:
                parse_json(item)
            except ReadingError as error:
                return ReadingError(f"$[{index}]{str(error).removeprefix('$')}")
    except ValueError:
        pass
    return None


def _not_json(error: Exception) -> ReadingError:
    if isinstance(error, RecursionError):
        return ReadingError("$: nested too deeply")
    return ReadingError(f"$: expected JSON: {error}")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
