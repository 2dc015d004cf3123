"""Does a reading fit its contract? Asked before it is sent, with the parser's own checker.

The device is stricter than the parser in one point: it refuses a key that appears twice in one
object, since a reader may take either value.
"""

import json
from typing import Any

import msgspec

from contracts import Contract
from contracts.reading import ReadingChecker, check_utf8, text_at

_SHOWN_CHARACTERS = 60


class ReadingError(ValueError):
    """A payload does not fit the contract; the message is ``path: expected …, got …``."""


class ReadingCheck:
    """Checks payloads against ``contract``."""

    def __init__(self, contract: Contract) -> None:
        self._checker = ReadingChecker(contract)

    def check(self, payload: bytes) -> None:
        """Check that ``payload`` is a reading, or an array of readings.

        Raises:
            ReadingError: Names the JSON path of the first violation.
        """
        is_array = payload.lstrip(b" \t\r\n").startswith(b"[")
        try:
            check_utf8(payload)
            value = (self._checker.many if is_array else self._checker.one).decode(payload)
            _JSON.decode(payload.decode())
        except msgspec.ValidationError as error:
            raise ReadingError(self._explained(error, payload)) from None
        except (ValueError, RecursionError) as error:
            raise _not_json(error) from None
        if is_array and not value:
            raise ReadingError("$: expected a reading, got an empty array")

    def _explained(self, error: msgspec.ValidationError, payload: bytes) -> str:
        reason, path = self._checker.violation(error)
        expected, _, _ = reason.partition(", got ")
        got = text_at(payload, path)
        return f"{path}: {reason if got is None else f'{expected}, got {_shortened(got)}'}"


def parse_json(payload: bytes) -> Any:
    """Parse ``payload`` as JSON that no reader takes differently.

    That is UTF-8, without NaN, Infinity, a key twice in one object, or half a surrogate pair.

    Raises:
        ReadingError: It is not that.
    """
    try:
        msgspec.json.decode(payload)
        return _JSON.decode(payload.decode())
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return value


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _not_json(error: Exception) -> ReadingError:
    if isinstance(error, RecursionError):
        return ReadingError("$: nested too deeply")
    return ReadingError(f"$: expected JSON: {error}")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
