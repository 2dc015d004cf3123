"""Does a reading fit its contract? Asked before it is sent, with the parser's strictness.

The contract's own JSON Schema document is evaluated by the ``jsonschema`` library, with JSON's
types taken literally: 12.0 is not an integer, true is not a number, integers have 64 bits, and
what is not JSON at all (NaN, Infinity) is not a number either.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from contracts import INT64_MAX, INT64_MIN, Contract, timestamp_range

_SHOWN_CHARACTERS = 60

# https://www.rfc-editor.org/rfc/rfc3339#section-5.6, without leap seconds, which no reader of the
# stored timestamps can hold.
_DATE_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)T(?P<time>([01]\d|2[0-3]):[0-5]\d:[0-5]\d)(\.\d+)?"
    r"(?P<offset>Z|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


class ReadingError(ValueError):
    """A payload does not fit the contract; the message is ``path: expected …, got …``."""


class ReadingCheck:
    """Checks payloads against ``contract``."""

    def __init__(self, contract: Contract) -> None:
        self._validator = _Validator(contract.document, format_checker=_FORMATS)

    def check(self, payload: bytes) -> None:
        """See that ``payload`` is a reading, or an array of readings.

        Raises:
            ReadingError: Names the JSON path of the first violation.
        """
        value = parse_json(payload)
        if isinstance(value, list):
            if not value:
                raise ReadingError("$: expected a reading, got an empty array")
            for index, reading in enumerate(value):
                self._check_reading(f"$[{index}]", reading)
        else:
            self._check_reading("$", value)

    def _check_reading(self, path: str, reading: object) -> None:
        try:
            for error in self._validator.iter_errors(reading):
                raise ReadingError(f"{path}{_steps(error)}: {_explained(error)}")
        except RecursionError:
            raise ReadingError(f"{path}: nested too deeply") from None


def parse_json(payload: bytes) -> Any:
    """Parse ``payload`` as JSON that no reader takes differently.

    That is UTF-8, without NaN, Infinity, a key twice in one object, or half a surrogate pair.

    Raises:
        ReadingError: It is not that.
    """
    try:
        value = json.loads(
            payload.decode(),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        if b"\\u" in payload:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ReadingError("$: nested too deeply") from None
    except UnicodeEncodeError:
        raise ReadingError("$: a string holds half a surrogate pair") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise ReadingError(f"$: expected JSON: {error}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected a number, got {name}")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"expected a 64-bit floating-point number, got {text}")
    return value


def _is_integer(_: object, value: object) -> bool:
    return (
        isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX
    )


def _is_number(_: object, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _x_timestamp(_: object, unit: str, value: object, __: object) -> Iterator[ValidationError]:
    if isinstance(value, int) and not isinstance(value, bool):
        lowest, highest = timestamp_range(unit)
        if not lowest <= value <= highest:
            yield ValidationError(f"a timestamp of the years 1 to 9999 in {unit}")


_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True  # "type" says so
    match = _DATE_TIME.fullmatch(value.upper())
    if match is None:
        return False
    try:
        datetime.fromisoformat("{day}T{time}{offset}".format(**match.groupdict())).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; or not within the years 1 to 9999 in UTC
        return False
    return True


_Validator = extend(  # type: ignore[no-untyped-call]  # types-jsonschema leaves it out
    Draft202012Validator,
    validators={"x-timestamp": _x_timestamp},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def _steps(error: ValidationError) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path]
    if error.validator == "required":
        steps.append("." + _missing(error))
    return "".join(steps)


def _missing(error: ValidationError) -> str:
    required: Any = error.validator_value
    present: Any = error.instance
    return str(next(name for name in required if name not in present))


# How each keyword of a contract reads; x-timestamp brings its own words.
_EXPECTED: dict[str, Callable[[Any], str]] = {
    "enum": lambda values: "one of " + ", ".join(json.dumps(value) for value in values),
    "exclusiveMaximum": "less than {}".format,
    "exclusiveMinimum": "more than {}".format,
    "format": lambda _: "an RFC 3339 date-time with its offset",
    "maximum": "at most {}".format,
    "maxLength": "at most {} characters".format,
    "minimum": "at least {}".format,
    "minLength": "at least {} characters".format,
    "pattern": "a match of {}".format,
    "type": lambda kinds: " or ".join([kinds] if isinstance(kinds, str) else kinds).replace(
        "integer", "64-bit integer"
    ),
}


def _explained(error: ValidationError) -> str:
    if error.validator == "required":
        return "expected this field, got none"
    say = _EXPECTED.get(str(error.validator))
    expected = say(error.validator_value) if say else error.message
    return f"expected {expected}, got {_shown(error.instance)}"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
