"""The one checker of readings, for the device and the parser: msgspec types made from a contract.

msgspec checks a value while it decodes it. ``check`` handles what msgspec has no constraint for:
date-times, and enums of numbers and booleans.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json import dumps
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from contracts.patterns import to_python
from contracts.schema import (
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    Contract,
    Scalar,
    Schema,
    integer_range,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# RFC 3339, section 5.6, without leap seconds, which no timestamp column can hold.
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)

# The first violation's path, and a step of it.
_PATH = re.compile(r" - at `(\$[^`]*)`\Z")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")

_JSON_WORDS = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
_PYTHON_WORD = re.compile(r"\b(" + "|".join(_JSON_WORDS) + r")\b")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_TYPE = re.compile(r"`[^`]*`")
# In Python's words, where the contract has its own.
_REGEX = re.compile(r"(?<=matching )regex '.*'\Z", re.DOTALL)
_NOT_ALLOWED = "expected one of the values that the contract allows"
_UNITS = {"ms": "milliseconds", "s": "seconds"}
_MOST_SHOWN_CHARACTERS = 200


class Violation(NamedTuple):
    """Why a reading does not fit.

    Attributes:
        reason: What was expected and what was found, without the device's values.
        path: JSON path of the value in what was decoded.
    """

    reason: str
    path: str


class ReadingChecker:
    """Decodes readings of one contract, and says why one does not fit.

    Attributes:
        one: Decodes one reading into an instance of ``reading_type(contract)``.
        many: Decodes an array of readings into a list of such instances.
    """

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        reading = reading_type(contract)
        self.one = msgspec.json.Decoder(reading, dec_hook=check)
        self.many = msgspec.json.Decoder(list[reading], dec_hook=check)  # type: ignore[valid-type]  # made at run time
        self._violation = lru_cache(maxsize=1024)(self._described)

    def violation(self, error: msgspec.ValidationError) -> Violation:
        """Put an error of ``one`` or ``many`` into words."""
        return self._violation(str(error))

    def _described(self, error: str) -> Violation:
        reason, path = describe(error)
        schema = self.schema_at(path)
        if reason == _NOT_ALLOWED and schema is not None:
            return Violation(f"{reason}: {_listed(schema.enum or ())}", path)
        if schema is not None and schema.pattern and _REGEX.search(reason):
            return Violation(_REGEX.sub(lambda _: f"regex {schema.pattern!r}", reason), path)
        if schema is not None and schema.timestamp and reason.startswith("expected integer"):
            unit = f"expected integer ({_UNITS[schema.timestamp]} since 1970)"
            return Violation(reason.replace("expected integer", unit, 1), path)
        return Violation(reason, path)

    def schema_at(self, path: str) -> Schema | None:
        """Return the schema of the value at ``path``; None if the contract has none there."""
        schema: Schema | None = self._schema
        for position, (name, index) in enumerate(_STEP.findall(path)):
            if index and position == 0:
                continue  # the reading's place in an array of them
            if schema is None or index:
                schema = schema and schema.items
            else:
                named = (field.schema for field in schema.fields if field.name == name)
                schema = next(named, None)
        return schema


def describe(error: str) -> Violation:
    """Put the text of a ``msgspec.ValidationError`` into JSON's words.

    The text quotes the value in one case only, an enum's, and is then not used; names in it are
    the contract's.
    """
    path = found[1] if (found := _PATH.search(error)) else "$"
    message = _PATH.sub("", error)
    if missing := _MISSING.match(message):
        return Violation("required field is missing", f"{path}.{missing[1]}")
    if message.startswith("Invalid enum value"):
        return Violation(_NOT_ALLOWED, path)
    words = _TYPE.sub(lambda quoted: _in_json_words(quoted[0].strip("`")), message)
    return Violation(words[0].lower() + words[1:], path)


def _in_json_words(python: str) -> str:
    return _PYTHON_WORD.sub(lambda word: _JSON_WORDS[word[0]], python)


def _listed(values: tuple[Scalar, ...]) -> str:
    text = ", ".join(map(dumps, values))
    return text if len(text) <= _MOST_SHOWN_CHARACTERS else f"{text[:_MOST_SHOWN_CHARACTERS]}…"


def text_at(payload: bytes, path: str) -> str | None:
    """Return the value at ``path`` of a JSON text, as it is written there; None if not found."""
    value = msgspec.Raw(payload)
    try:
        for name, index in _STEP.findall(path):
            if name:
                value = msgspec.json.decode(value, type=dict[str, msgspec.Raw])[name]
            else:
                value = msgspec.json.decode(value, type=list[msgspec.Raw])[int(index)]
    except (ValueError, LookupError, RecursionError):
        return None
    return bytes(value).decode(errors="replace").strip()


def unknown_names(schema: Schema, value: object) -> Iterator[str]:
    """Yield the names in ``value`` that ``schema`` lacks; nested ones as ``outer.inner``."""
    if isinstance(value, dict) and schema.kind == "object":
        known = {field.name: field.schema for field in schema.fields}
        for name in value:
            if name not in known:
                yield name
            else:
                yield from (f"{name}.{inner}" for inner in unknown_names(known[name], value[name]))
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            yield from unknown_names(schema.items, item)


def check_utf8(payload: bytes) -> None:
    """Check also the bytes of unknown fields, which the decoder skips.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    if not payload.isascii():
        payload.decode()


class Checked:
    """A value that msgspec cannot check by itself; each such schema has its own subclass.

    Attributes:
        value: What goes into the column.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = self.convert(value)

    @staticmethod
    def convert(value: object) -> Scalar:
        """Return what goes into the column.

        Raises:
            ValueError: ``value`` does not fit.
        """
        raise NotImplementedError


def check(type_: type[Checked], value: object) -> Checked:
    """Convert ``value``, as msgspec's ``dec_hook``.

    Raises:
        ValueError: It does not fit; msgspec adds the path.
    """
    return type_(value)


def is_checked(schema: Schema) -> bool:
    """Whether values of ``schema`` are decoded into a ``Checked``."""
    return schema.date_time or (schema.enum is not None and schema.kind != "string")


def attribute(index: int) -> str:
    """Attribute of a decoded object that holds the contract's field number ``index``."""
    return f"f{index}"  # a field's own name may be a word of Python's


def reading_type(contract: Contract) -> type[msgspec.Struct]:
    """The type of one reading; a field that may be absent is then None."""
    return _object_type(contract.schema)


def _object_type(schema: Schema) -> type[msgspec.Struct]:
    fields = []
    for index, field in enumerate(schema.fields):
        default = msgspec.NODEFAULT if field.required else None
        fields.append(
            (
                attribute(index),
                _type(field.schema),
                msgspec.field(name=field.name, default=default),
            )
        )
    # Values of JSON hold no cycles, so the garbage collector need not look at them.
    return msgspec.defstruct("Reading", fields, kw_only=True, gc=False)


def _type(schema: Schema) -> Any:
    type_ = _type_of_value(schema)
    return type_ | None if schema.nullable else type_


def _type_of_value(schema: Schema) -> Any:
    if schema.enum is not None:
        return _enum_type(schema)
    if schema.date_time:
        return _checked(_date_time_ms)
    match schema.kind:
        case "object":
            return _object_type(schema)
        case "array":
            assert schema.items is not None  # noqa: S101  # the contract's loader saw to it
            return list[_type(schema.items)]  # type: ignore[misc]  # made at run time
        case "string":
            return Annotated[
                str,
                msgspec.Meta(
                    min_length=schema.min_length,
                    max_length=schema.max_length,
                    pattern=None if schema.pattern is None else to_python(schema.pattern),
                ),
            ]
        case "integer":
            return _integer_type(schema)
        case "number":
            return _number_type(schema)
        case "boolean":
            return bool


def _integer_type(schema: Schema) -> Any:
    lowest, highest = integer_range(schema)
    if lowest > highest:
        return _checked(_one_of((), schema.kind))
    return Annotated[int, msgspec.Meta(ge=lowest, le=highest)]


def _number_type(schema: Schema) -> Any:
    bounds: dict[str, Any] = {}
    low, above = schema.minimum, schema.exclusive_minimum
    if above is not None and (low is None or above >= low):
        bounds["gt"] = float(above)
    elif low is not None:
        bounds["ge"] = float(low)
    high, below = schema.maximum, schema.exclusive_maximum
    if below is not None and (high is None or below <= high):
        bounds["lt"] = float(below)
    elif high is not None:
        bounds["le"] = float(high)
    return Annotated[float, msgspec.Meta(**bounds)]


def _enum_type(schema: Schema) -> Any:
    others = _type_of_value(replace(schema, enum=None))
    fitting = tuple(x for x in schema.enum or () if x is not None and _fits(x, others))
    if schema.kind == "string" and fitting:
        return Literal[fitting]
    return _checked(_one_of(fitting, schema.kind))


def _fits(value: Scalar, type_: Any) -> bool:
    try:
        msgspec.convert(value, type_, dec_hook=check)
    except msgspec.ValidationError:
        return False
    return True


def _checked(convert: Callable[[object], Scalar]) -> type[Checked]:
    return type("Checked", (Checked,), {"__slots__": (), "convert": staticmethod(convert)})


def _one_of(values: tuple[Scalar, ...], kind: str) -> Callable[[object], Scalar]:
    types = {"integer": (int,), "number": (int, float), "boolean": (bool,)}.get(kind, ())

    def convert(value: object) -> Scalar:
        # By exact type: to Python, True is also the integer 1, and 12.0 is equal to 12.
        if type(value) not in types or value not in values:
            raise ValueError(_NOT_ALLOWED)
        return float(value) if kind == "number" else value  # type: ignore[arg-type]  # one of types

    return convert


def is_date_time(text: str) -> bool:
    """Whether ``text`` fits a schema with ``format: date-time``."""
    try:
        _date_time_ms(text)
    except ValueError:
        return False
    return True


def _date_time_ms(value: object) -> int:
    """Milliseconds since the Unix epoch; what is finer is cut off, towards the past."""
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError("expected an RFC 3339 date-time")
    try:
        milliseconds = (datetime.fromisoformat(value.upper()) - _EPOCH) // _MILLISECOND
    except ValueError:
        raise ValueError("expected a date-time that exists") from None
    if not TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX:
        raise ValueError("expected a date-time within the years 1 to 9999, UTC")
    return milliseconds
