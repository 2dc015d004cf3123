"""The tests of the accounting are themselves tested: a broken parser does not pass them."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from contracts import Contract, Schema, integer_range, reading
from telemetry_parser import decoder, parquet, parser, raw, rows
from telemetry_parser.rejections import Rejection
from tests.unit.parser.examples import contract, parse_object, test_line
from tests.unit.parser.oracle import check_accounting, check_values

OF: Contract = contract(
    ["at", "n"],
    at={"type": "integer", "x-timestamp": "s"},
    n={"type": "integer", "maximum": 9},
    x={"type": "number"},
    s={"type": ["string", "null"], "enum": ["a", "é\u2028", None]},
    b={"type": "boolean", "enum": [True]},
    moment={"type": "string", "format": "date-time"},
    list={
        "type": "array",
        "items": {"type": ["object", "null"], "properties": {"k": {"type": "string"}}},
    },
)

MESSAGES: list[list[Any]] = [
    [{"at": 9, "n": 1, "x": 0.1}, {"at": 3, "n": 2, "s": "é\u2028"}, {"at": -7, "n": 3, "b": True}],
    [{"at": 1, "n": 4, "s": None}],
    [{"at": 2, "n": 10}, {"at": 2, "n": 5}, {"at": 2, "n": 5.0}, {"n": 5}, "x"],
    [{"at": 0, "n": 6, "list": [{"k": "v"}, None, {}]}, {"at": 0, "n": 6, "list": [{"k": 1}]}],
    [{"at": 0, "n": True}],
    [{"at": 4, "n": 7, "moment": "1969-12-31T23:59:59.9995Z"}, {"at": 4, "n": 7, "moment": "x"}],
    [{"at": 10**12, "n": 8}, {"at": 5, "n": 8, "b": False}, {"at": 5, "n": 8, "x": "1"}],
    [{"at": 9, "n": 1, "x": 0.25}],
    [{"at": 6, "n": 2, "x": 0.5}],
    [{"at": 7, "n": 3, "x": 0.75}],
]


def check() -> None:
    """Parse two fixed objects, one of every kind of line, and check all that is promised."""
    lines = []
    for number, message in enumerate(MESSAGES):
        payload = json.dumps(message if len(message) > 1 else message[0]).encode()
        if number % 3 == 1:
            payload = gzip.compress(payload)
        lines.append(test_line(payload, topic=f"dt/dev/thing-{number % 2}/test"))
    surrogate = test_line(b'[{"at": 1, "n": 1, "s": "\\ud800"}')
    others = [b"", test_line(b"[]"), b"no envelope", lines[0] + lines[1], b"\xff", surrogate]
    good = gzip.compress(b"\n".join(lines) + b"\n")
    for content in (good, good + gzip.compress(b"\n".join(others))):
        outcome = parse_object(content, OF)
        check_accounting(content, outcome)
        check_values(OF, MESSAGES, outcome)


def test_the_parser_as_it_is_passes() -> None:
    check()


def _mutants() -> Iterator[tuple[str, object, str, Any]]:  # noqa: PLR0915  # a list
    """Each breaks one thing: its name, and what is put in whose attribute's place."""
    decode = decoder.ReadingDecoder.decode
    decode_singles = decoder.ReadingDecoder.decode_singles
    decode_each = decoder.ReadingDecoder._decode_each
    reject = parser._Run._reject
    add_singles, add_message = rows.Rows.add_singles, rows.Rows.add_message
    column = parquet.column

    def one_for_all(self: Any, payloads: Sequence[bytes], *, size: int) -> list[Any]:
        made = decode_singles(self, payloads, size=size)
        return [one and next(filter(None, made)) for one in made]

    def drop_last(self: Any, items: Iterable[bytes], most: int) -> decoder.Readings:
        made = decode_each(self, items, most)
        return decoder.Readings(made.values[:-1], made.indexes[:-1], made.rejections)

    def both(self: Any, items: Iterable[bytes], most: int) -> decoder.Readings:
        made = decode_each(self, items, most)
        last = made.indexes[-1] if made.indexes else 0
        again = [msgspec.structs.replace(one, reading_index=last) for one in made.rejections[:1]]
        return decoder.Readings(made.values, made.indexes, [*made.rejections, *again])

    def whole_for_one(self: Any, items: Iterable[bytes], most: int) -> decoder.Readings:
        made = decode_each(self, items, most)
        return made if not made.rejections else decoder.Readings([], [], made.rejections)

    def renumbered(self: Any, items: Iterable[bytes], most: int) -> decoder.Readings:
        made = decode_each(self, items, most)
        return decoder.Readings(made.values, range(len(made.values)), made.rejections)

    def first_only(self: Any, payload: bytes, **more: Any) -> decoder.Readings:
        made = decode(self, payload, **more)
        return decoder.Readings(made.values[:1], made.indexes[:1], made.rejections)

    def stripped(self: Any, number: int, line: bytes, *more: Any) -> None:
        reject(self, number, line.strip()[:-1], *more)

    def wrong_line(self: Any, number: int, *more: Any) -> None:
        reject(self, number + 1, *more)

    def of_nobody(self: Any, number: int, line: bytes, _: Any, rejection: Rejection) -> None:
        reject(self, number, line, None, rejection)

    def all_but_the_first(self: Any, *more: Any, size: int) -> None:
        add_singles(self, *(values[1:] for values in more), size=size)

    def of_another(
        self: Any, readings: Any, envelope: Any, origin: Any, *more: Any, size: int
    ) -> None:
        add_message(self, readings, envelope, origin._replace(thing_name="x"), *more, size=size)

    def shuffled_column(schema: Any, values: Sequence[Any]) -> Any:
        return column(schema, values[::-1] if schema.kind == "number" else values)

    run, decoding = parser._Run, decoder.ReadingDecoder
    yield "loses the last reading of a message taken apart", decoding, "_decode_each", drop_last
    yield "counts a reading twice", decoding, "_decode_each", both
    yield "punishes a message for one reading", decoding, "_decode_each", whole_for_one
    yield "numbers readings anew", decoding, "_decode_each", renumbered
    yield "keeps the first reading only", decoding, "decode", first_only
    yield "does not keep the raw line verbatim", run, "_reject", stripped
    yield "names the wrong line", run, "_reject", wrong_line
    yield "does not say who sent a rejected line", run, "_reject", of_nobody
    yield "drops a bad line", run, "_take_line", lambda *_: None
    yield "loses a message", rows.Rows, "add_singles", all_but_the_first
    yield "gives one message's reading to others", decoding, "decode_singles", one_for_all
    yield "says that another thing sent it", rows.Rows, "add_message", of_another
    yield "mixes up a column", rows, "column", shuffled_column
    yield "stores seconds as milliseconds", parquet, "_plain", _without_scale(parquet._plain)
    yield "takes any time", reading, "integer_range", _timeless
    yield "takes any text for a date", reading, "_date_time_ms", lambda _: 0
    yield "takes any boolean", reading, "_one_of", lambda *_: lambda value: value
    yield "reads the first member only", raw.RawLines, "_blocks", _first_member
    yield "splits lines as text", raw.RawLines, "__iter__", _as_text


def _timeless(schema: Schema) -> tuple[int, int]:
    return integer_range(replace(schema, timestamp=None) if schema.timestamp == "s" else schema)


def _without_scale(plain: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
    return lambda schema, values: plain(replace(schema, timestamp=None), values)


def _first_member(self: raw.RawLines) -> Iterator[bytes]:
    yield zlib.decompressobj(31).decompress(self._raw.read(1 << 20))


def _as_text(self: raw.RawLines) -> Iterator[Sequence[bytes]]:
    yield b"".join(self._blocks()).decode(errors="replace").encode().splitlines()


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [pytest.param(owner, name, broken, id=what) for what, owner, name, broken in _mutants()],
)
def test_a_parser_that(
    owner: object, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """… does what the test's id says is noticed."""
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises((AssertionError, ValueError, KeyError, OverflowError)):
        check()
