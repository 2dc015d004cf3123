"""Read contracts from their JSON Schema files.

``Schema`` holds a subset of JSON Schema 2020-12; a ``ContractError`` names what is outside it.
"""

import json
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from contracts.intervals import EXPECTED, parse_interval
from contracts.names import CHANNEL_PATTERN
from contracts.patterns import PatternError, to_python
from contracts.schema import (
    DIALECT,
    INT64_MAX,
    INT64_MIN,
    Contract,
    Field,
    Kind,
    Scalar,
    Schema,
    contradiction,
)
from contracts.tables import RESERVED_COLUMNS, RESERVED_WORDS, TABLE_SUFFIXES

# A column name that Glue, Athena, Parquet and every device's JSON library accept unquoted.
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

# What only the document as a whole may have.
_ROOT_KEYWORDS = {"$schema", "x-expected-every"}


class ContractError(ValueError):
    """The contract is not valid; the message names the file, the path in it and what is allowed."""


def channels() -> tuple[str, ...]:
    """The names of every contract beside this file, sorted."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.json")))


def load(channel: str) -> Contract:
    """Read the contract of ``channel``.

    Raises:
        ContractError: It does not exist, or is outside the subset.
    """
    if channel not in channels():
        raise ContractError(f"expected one of {', '.join(channels())}, got contract {channel!r}")
    return parse(channel, Path(__file__).with_name(f"{channel}.json").read_bytes())


def load_all() -> tuple[Contract, ...]:
    """Read every contract, sorted by channel.

    Raises:
        ContractError: There is none, or one is outside the subset.
    """
    if not (found := channels()):
        raise ContractError(f"expected a contract in {Path(__file__).parent}, got no .json file")
    return tuple(map(load, found))


def parse(channel: str, text: str | bytes) -> Contract:
    """Read a contract from the text of its file.

    Raises:
        ContractError: Names ``<channel>.json``, the path in it, and what is allowed.
    """
    if not re.fullmatch(CHANNEL_PATTERN, channel):
        raise ContractError(
            "expected a channel of at most 32 lower-case letters, digits and '_', starting with "
            f"a letter, got contract {channel!r}"
        )
    if channel.endswith(TABLE_SUFFIXES):
        raise ContractError(
            f"{channel}.json: expected a name that does not end in {' or '.join(TABLE_SUFFIXES)}, "
            "which name other tables of a channel"
        )
    if channel in RESERVED_WORDS:
        raise ContractError(
            f"{channel}.json: expected a table's name that SQL does not reserve, got {channel!r}"
        )
    try:
        document = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        schema = _Reader().root(document)
        expected_every = _Reader().interval("x-expected-every", document)
    except RecursionError:
        raise ContractError(f"{channel}.json: nested too deeply") from None
    except ValueError as error:  # not JSON, not UTF-8, or a ContractError without its file
        raise ContractError(f"{channel}.json: {error}") from None
    return Contract(channel, schema, document, expected_every)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ContractError(f"key {key!r} appears more than once in one object")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise ContractError(f"expected a JSON number, got {name}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if not _is_integer(value) and not isinstance(value, float):
        return False
    try:
        return math.isfinite(value)  # type: ignore[arg-type]  # it is a number
    except OverflowError:  # an integer that no double can hold
        return False


_CONFORMS: dict[Kind, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        isinstance(value, int) and _is_integer(value) and INT64_MIN <= value <= INT64_MAX
    ),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
}

# What an annotation is, if JSON Schema says so. They change nothing, except that a description
# becomes a column's comment, and that the simulator sends examples.
_ANNOTATIONS: dict[str, tuple[type, str]] = {
    "$comment": (str, "a string"),
    "$id": (str, "a string"),
    "default": (object, "any value"),
    "deprecated": (bool, "true or false"),
    "description": (str, "a string"),
    "examples": (list, "a list"),
    "title": (str, "a string"),
}
_EVERYWHERE = {"type", "x-unit", *_ANNOTATIONS}
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_KEYWORDS: dict[Kind, set[str]] = {
    "object": _EVERYWHERE | {"properties", "required"},
    "array": _EVERYWHERE | {"items"},
    "string": _EVERYWHERE | {"enum", "minLength", "maxLength", "pattern", "format"},
    "integer": _EVERYWHERE | {"enum", "x-timestamp"} | _BOUNDS,
    "number": _EVERYWHERE | {"enum"} | _BOUNDS,
    "boolean": _EVERYWHERE | {"enum"},
}


class _Reader:
    """Turns a JSON document into a ``Schema``; ``path`` in each method is where it stands."""

    def root(self, document: object) -> Schema:
        if isinstance(document, dict) and "$schema" in document:
            dialect = document["$schema"]
            if dialect != DIALECT:
                raise self._error("$.$schema", json.dumps(DIALECT), dialect)
        if isinstance(document, dict):
            document = {k: v for k, v in document.items() if k not in _ROOT_KEYWORDS}
        schema = self.schema("$", document)
        if schema.kind != "object" or schema.nullable:
            raise ContractError(f'$.type: expected "object", got {_shown(document["type"])}')  # type: ignore[index]  # schema() saw that it is a dict
        for field in schema.fields:
            if field.column in RESERVED_COLUMNS:
                raise ContractError(
                    f"$.properties.{field.name}: the pipeline adds a column of this name; "
                    f"expected none of {', '.join(sorted(RESERVED_COLUMNS))}"
                )
            if field.column in RESERVED_WORDS:
                raise ContractError(
                    f"$.properties.{field.name}: expected a column's name that SQL does not "
                    f"reserve, got {_shown(field.name)}"
                )
        return schema

    def interval(self, keyword: str, document: dict[str, Any]) -> timedelta | None:
        found = parse_interval(document.get(keyword))
        if found is None and keyword in document:
            raise self._error(f"$.{keyword}", EXPECTED, document[keyword])
        return found

    def schema(self, path: str, node: object) -> Schema:
        if not isinstance(node, dict):
            raise self._error(path, "a schema, an object with a type", node)
        kind, nullable = self._type(path, node)
        unknown = sorted(set(node) - _KEYWORDS[kind])
        if unknown:
            raise ContractError(
                f"{path}.{unknown[0]}: expected, for type {kind}, only "
                f"{', '.join(sorted(_KEYWORDS[kind]))}"
            )
        for name in sorted(_ANNOTATIONS.keys() & node):
            of_type, expected = _ANNOTATIONS[name]
            if not isinstance(node[name], of_type):
                raise self._error(f"{path}.{name}", expected, node[name])
        schema = Schema(
            kind=kind,
            nullable=nullable,
            enum=self._enum(path, node, kind, nullable),
            minimum=self._bound(path, node, "minimum", kind),
            maximum=self._bound(path, node, "maximum", kind),
            exclusive_minimum=self._bound(path, node, "exclusiveMinimum", kind),
            exclusive_maximum=self._bound(path, node, "exclusiveMaximum", kind),
            min_length=self._length(path, node, "minLength"),
            max_length=self._length(path, node, "maxLength"),
            pattern=self._pattern(path, node),
            timestamp=self._one_of(path, node, "x-timestamp", ("ms", "s")),
            date_time=self._one_of(path, node, "format", ("date-time",)) is not None,
            items=self._items(path, node) if kind == "array" else None,
            fields=self._fields(path, node) if kind == "object" else (),
            description=node.get("description"),
            examples=tuple(node.get("examples", ())),
            unit=self._text(path, node, "x-unit"),
        )
        if (fault := contradiction(schema)) is not None:
            raise ContractError(f"{path}: {fault}")
        return schema

    def _type(self, path: str, node: dict[str, Any]) -> tuple[Kind, bool]:
        value = node.get("type")
        names = value if isinstance(value, list) else [value]
        kinds = [name for name in names if name != "null"]
        if (
            len(kinds) != 1
            or not isinstance(kinds[0], str)
            or kinds[0] not in _KEYWORDS
            or len(names) - len(kinds) > 1
        ):
            raise self._error(
                f"{path}.type", f'one of {", ".join(_KEYWORDS)}, or [one of them, "null"]', value
            )
        return kinds[0], len(names) == 2

    def _enum(
        self, path: str, node: dict[str, Any], kind: Kind, nullable: bool
    ) -> tuple[Scalar, ...] | None:
        if "enum" not in node:
            return None
        values = node["enum"]
        if not isinstance(values, list) or not values:
            raise self._error(f"{path}.enum", "a list of at least one value", values)
        for index, value in enumerate(values):
            place = f"{path}.enum[{index}]"
            if not _CONFORMS[kind](value) and not (nullable and value is None):
                raise self._error(place, f"a value of type {kind}", value)
            if value in values[:index]:
                raise ContractError(f"{place}: {_shown(value)} appears more than once")
        if nullable and None not in values:
            raise ContractError(f'{path}.enum: expected null among them, as the type has "null"')
        return tuple(values)

    def _bound(
        self, path: str, node: dict[str, Any], keyword: str, kind: Kind
    ) -> int | float | None:
        if keyword not in node:
            return None
        value = node[keyword]
        if not _CONFORMS[kind](value):
            expected = "a 64-bit integer" if kind == "integer" else "a finite number"
            raise self._error(f"{path}.{keyword}", expected, value)
        return value  # type: ignore[no-any-return]  # _CONFORMS saw that it is a number

    def _length(self, path: str, node: dict[str, Any], keyword: str) -> int | None:
        if keyword not in node:
            return None
        value = node[keyword]
        if not _CONFORMS["integer"](value) or value < 0:
            raise self._error(f"{path}.{keyword}", "an integer, 0 or more", value)
        return int(value)

    def _pattern(self, path: str, node: dict[str, Any]) -> str | None:
        value = self._text(path, node, "pattern")
        if value is not None:
            try:
                to_python(value)
            except PatternError as error:
                raise ContractError(f"{path}.pattern: {error}") from None
        return value

    def _one_of(
        self, path: str, node: dict[str, Any], keyword: str, allowed: tuple[str, ...]
    ) -> Any:
        if keyword in node and node[keyword] not in allowed:
            expected = " or ".join(json.dumps(value) for value in allowed)
            raise self._error(f"{path}.{keyword}", expected, node[keyword])
        return node.get(keyword)

    def _text(self, path: str, node: dict[str, Any], keyword: str) -> str | None:
        value = node.get(keyword)
        if keyword in node and not isinstance(value, str):
            raise self._error(f"{path}.{keyword}", "a string", value)
        return value

    def _items(self, path: str, node: dict[str, Any]) -> Schema:
        if "items" not in node:
            raise ContractError(f"{path}: expected items, the schema of the array's values")
        return self.schema(f"{path}.items", node["items"])

    def _fields(self, path: str, node: dict[str, Any]) -> tuple[Field, ...]:
        properties = node.get("properties")
        if not isinstance(properties, dict) or not properties:
            raise self._error(f"{path}.properties", "an object of at least one field", properties)
        required = node.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise self._error(f"{path}.required", "a list of field names", required)
        for index, name in enumerate(required):
            if name not in properties or name in required[:index]:
                expected = "the name of a property, once"
                raise self._error(f"{path}.required[{index}]", expected, name)
        columns: dict[str, str] = {}
        for name in properties:
            place = f"{path}.properties.{name}"
            if not FIELD_NAME.fullmatch(name):
                expected = "a name of at most 128 letters, digits and '_', no digit first"
                raise self._error(place, expected, name)
            if name.lower() in columns:
                raise ContractError(
                    f"{place}: differs from {columns[name.lower()]} only in case, "
                    "which Athena's columns do not have"
                )
            columns[name.lower()] = name
        return tuple(
            Field(name, self.schema(f"{path}.properties.{name}", value), name in required)
            for name, value in properties.items()
        )

    @staticmethod
    def _error(path: str, expected: str, got: object) -> ContractError:
        return ContractError(f"{path}: expected {expected}, got {_shown(got)}")
