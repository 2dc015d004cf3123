r"""Translate ``pattern`` to Python: JSON Schema's are ECMA-262 regular expressions with flag ``u``.

The result has no groups, and in Python it finds a match in the same strings as the original does
in JavaScript. What has no equal in Python is refused: references to groups, ``\p``, flags within
a pattern, and lookbehind of more than one width.

See https://json-schema.org/draft/2020-12/json-schema-core#section-6.4
and https://tc39.es/ecma262/#sec-patterns
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from json import dumps

_Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_DIGIT: _Ranges = ((0x30, 0x39),)
_WORD: _Ranges = (*_DIGIT, (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_LINE_END: _Ranges = ((0xA, 0xA), (0xD, 0xD), (0x2028, 0x2029))
_SPACE: _Ranges = (
    *((0x9, 0xD), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)

_CONTROLS = {"t": 0x9, "n": 0xA, "v": 0xB, "f": 0xC, "r": 0xD}
_SYNTAX = "^$\\.*+?()[]{}|/"
_ESCAPES = rf"d D w W s S t n v f r 0 cX xHH uHHHH u{{H}} or a character of {_SYNTAX}"

_GROUP = re.compile(r"\?(:|=|!|<=|<!|<([A-Za-z_$][A-Za-z0-9_$]*)>)", re.ASCII)
_COUNTS = re.compile(r"\{([0-9]+)(?:(,)([0-9]+)?)?\}")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]+)\}|c([A-Za-z])")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9A-Fa-f]{2})")


class PatternError(ValueError):
    """The pattern has no equal in Python; the message says what is allowed, and where."""


@lru_cache(maxsize=1024)
def to_python(pattern: str) -> str:
    """Translate ``pattern`` for ``re.search``.

    Raises:
        PatternError: It is not ECMA-262, or has no equal in Python.
    """
    translated = _Translator(pattern).translated()
    try:
        re.compile(translated)
    except (re.error, OverflowError) as error:
        if "look-behind" in str(error):
            raise PatternError("expected lookbehind of one width") from None
        raise PatternError(f"expected a pattern that Python can match: {error}") from None
    return translated


class _Translator:
    """One pass over a pattern; ``_at`` is where it stands."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._names: set[str] = set()

    def translated(self) -> str:
        translated = self._disjunction()
        if self._at < len(self._pattern):
            raise self._error("'(' before ')'")
        return translated

    def _next(self) -> str:
        """The next character; empty at the end."""
        return self._pattern[self._at : self._at + 1]

    def _takes(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._at)
        if found:
            self._at += len(text)
        return found

    def _matches(self, form: re.Pattern[str]) -> re.Match[str] | None:
        found = form.match(self._pattern, self._at)
        if found:
            self._at = found.end()
        return found

    def _error(self, expected: str) -> PatternError:
        got = dumps(self._next()) if self._next() else "the end"
        return PatternError(f"expected {expected}, got {got} at character {self._at + 1}")

    def _disjunction(self) -> str:
        alternatives = [self._alternative()]
        while self._takes("|"):
            alternatives.append(self._alternative())
        return "|".join(alternatives)

    def _alternative(self) -> str:
        terms = []
        while self._next() and self._next() not in "|)":
            terms.append(self._assertion() or self._atom() + self._quantifier())
        return "".join(terms)

    def _assertion(self) -> str | None:
        """A term that takes no character, and so no quantifier."""
        if self._takes("^"):
            return "^"
        if self._takes("$"):
            return r"\Z"
        word = _set(_WORD)
        if self._takes(r"\b"):
            return f"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
        if self._takes(r"\B"):
            return f"(?:(?<={word})(?={word})|(?<!{word})(?!{word}))"
        for opening in ("(?=", "(?!", "(?<=", "(?<!"):
            if self._takes(opening):
                return self._closed(opening)
        return None

    def _atom(self) -> str:
        if self._takes("."):
            return _set(_without(_LINE_END))
        if self._takes("("):
            return self._group()
        if self._takes("["):
            return self._class()
        if self._takes("\\"):
            return _set(self._escape(f"b B {_ESCAPES}"))
        if self._next() in "*+?":
            raise self._error("something to repeat")
        if self._next() in "{}]":
            raise self._error("a backslash before a bracket that stands for itself")
        return _set(self._literal())

    def _group(self) -> str:
        if self._next() != "?":
            return self._closed("(?:")
        found = self._matches(_GROUP)
        if found is None:
            self._at += 1
            raise self._error("after '(?' one of : = ! <= <! <name>")
        if found[2] in self._names:
            raise self._error(f"another name than {found[2]!r} for a second group")
        if found[2]:
            self._names.add(found[2])
        return self._closed("(?:")

    def _closed(self, opening: str) -> str:
        inner = self._disjunction()
        if not self._takes(")"):
            raise self._error("')'")
        return f"{opening}{inner})"

    def _quantifier(self) -> str:
        if counts := self._matches(_COUNTS):
            least, comma, most = counts.groups()
            if most and int(most) < int(least):
                raise self._error(f"a count of at least {least} as the second")
            repeated = f"{{{least}{comma or ''}{most or ''}}}"
        elif self._next() and self._next() in "*+?":
            repeated = self._next()
            self._at += 1
        else:
            return ""
        return repeated + ("?" if self._takes("?") else "")

    def _literal(self) -> _Ranges:
        code = ord(self._next())
        self._at += 1
        return ((code, code),)

    def _class(self) -> str:
        negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        while not self._takes("]"):
            first = self._class_atom()
            if self._next() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                last = self._class_atom()
                if not _is_one(first) or not _is_one(last) or last < first:
                    raise self._error("before it a range from one character to a later one")
                ranges.append((first[0][0], last[0][0]))
            else:
                ranges += first
        return _set(_without(ranges) if negated else ranges)

    def _class_atom(self) -> _Ranges:
        if not self._next():
            raise self._error("']'")
        if not self._takes("\\"):
            return self._literal()
        if self._takes("b"):
            return ((0x8, 0x8),)
        if self._next() == "-":
            return self._literal()
        return self._escape(f"b - {_ESCAPES}")

    def _escape(self, expected: str) -> _Ranges:
        """What follows a backslash, for one character or a set of them."""
        letter = self._next()
        for name, ranges in (("d", _DIGIT), ("w", _WORD), ("s", _SPACE)):
            if self._takes(name):
                return ranges
            if self._takes(name.upper()):
                return _without(ranges)
        if letter and letter in _SYNTAX:
            return self._literal()
        if letter in _CONTROLS:
            self._at += 1
            code = _CONTROLS[letter]
        elif re.match("0(?![0-9])", self._pattern[self._at :]):
            self._at += 1
            code = 0
        else:
            code = self._code(expected)
        return ((code, code),)

    def _code(self, expected: str) -> int:
        found = self._matches(_CODE)
        if found is None:
            raise self._error(f"after a backslash one of {expected}")
        if found[4]:
            return ord(found[4]) % 32
        code = int(found[1] or found[2] or found[3], 16)
        if code > _LAST:
            raise self._error("before it a code of at most 10FFFF")
        if found[2] and 0xD800 <= code <= 0xDBFF and (low := self._matches(_LOW_SURROGATE)):
            code = 0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00
        return code


def _is_one(ranges: _Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _without(ranges: Iterable[tuple[int, int]]) -> _Ranges:
    """Every character that is not within ``ranges``."""
    others, start = [], 0
    for low, high in sorted(ranges):
        if start < low:
            others.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        others.append((start, _LAST))
    return tuple(others)


def _set(ranges: Iterable[tuple[int, int]]) -> str:
    """One character within ``ranges``, in Python's words."""
    ranges = tuple(ranges)
    if _is_one(ranges):
        return _written(ranges[0][0])
    if not ranges:
        return "(?!)"
    parts = (
        _written(low) if low == high else f"{_written(low)}-{_written(high)}"
        for low, high in ranges
    )
    return f"[{''.join(parts)}]"


def _written(code: int) -> str:
    character = chr(code)
    if code < 0x7F and character.isprintable():
        return character if character.isalnum() or character == "_" else f"\\{character}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
