"""Every bound: what exceeds it is rejected or refused, and the reason names the setting."""

import gzip
import json
from typing import Any

import pytest

from telemetry_parser.raw import ObjectError
from telemetry_parser.settings import Limits
from tests.unit.parser.examples import GOOD, contract, line, parse_lines, parse_object, test_line

READING = json.dumps(GOOD).encode()


def test_a_message_as_large_as_the_limit_is_parsed_and_a_larger_one_rejected() -> None:
    for payload in (READING, gzip.compress(READING)):
        at = parse_lines(line(payload), limits=Limits(max_message_bytes=len(READING)))
        above = parse_lines(line(payload), limits=Limits(max_message_bytes=len(READING) - 1))
        assert len(at.rows) == 1
        assert above.result.rejected_by == {"limit": 1}
        assert "MAX_MESSAGE_BYTES" in above.rejected[0]["reason"]


def test_a_bomb_is_not_expanded() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    outcome = parse_lines(line(bomb), line(GOOD))
    assert outcome.column("raw_line") == [2]
    assert "MAX_MESSAGE_BYTES" in outcome.rejected[0]["reason"]


def test_a_finely_divided_message_is_rejected() -> None:
    of = contract(v={"type": "integer"})
    for payload in (b"[" + b"{}," * 40 + b"{}]", b"[" + b"1," * 100 + b"1]", b"[" * 99):
        outcome = parse_lines(test_line(payload), of=of, limits=Limits(max_message_values=80))
        assert "MAX_MESSAGE_VALUES" in outcome.rejected[0]["reason"]


def test_a_message_beyond_what_an_object_may_expand_to_is_rejected() -> None:
    large = gzip.compress(READING + b" " * 5000)
    raw = b"\n".join([line(gzip.compress(READING)), line(large), line(GOOD)])
    limit = len(READING) + 5000
    outcome = parse_object(raw, limits=Limits(max_object_bytes=limit))
    assert outcome.column("raw_line") == [1, 3]
    assert "MAX_OBJECT_BYTES" in outcome.rejected[0]["reason"]
    assert len(parse_object(raw, limits=Limits(max_object_bytes=2 * limit)).rows) == 3


def test_an_object_larger_than_the_limit_is_refused() -> None:
    raw = gzip.compress(b"\n" * 1001)
    assert parse_object(raw, limits=Limits(max_object_bytes=1001)).result.blank_lines == 1001
    with pytest.raises(ObjectError, match="MAX_OBJECT_BYTES"):
        parse_object(raw, limits=Limits(max_object_bytes=1000))


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_object_with_a_longer_line_than_the_limit_is_refused(end: bytes) -> None:
    limits = Limits(max_line_bytes=1000)
    assert parse_object(b"x" * 1000 + end, limits=limits).result.messages_rejected == 1
    with pytest.raises(ObjectError, match="MAX_LINE_BYTES"):
        parse_object(b"x" * 1001 + end, limits=limits)
    with pytest.raises(ObjectError, match="MAX_LINE_BYTES"):
        parse_object(b"x" * 300_000 + end, limits=limits)


def test_a_raw_line_is_not_repeated_beyond_the_limit() -> None:
    readings: list[Any] = [GOOD, {}, GOOD, {}, {}]
    one = line(readings)
    enough = parse_lines(one, one, limits=Limits(max_rejected_bytes=4 * len(one)))
    assert (len(enough.rows), len(enough.rejected)) == (4, 6)
    short = parse_lines(one, one, line([GOOD, {}]), limits=Limits(max_rejected_bytes=2 * len(one)))
    assert [(row["raw_line"], row["reading_index"]) for row in short.rejected] == [
        (1, 1),
        (1, 3),
        (1, 4),
        (2, None),
        (3, 1),
    ]
    assert "MAX_REJECTED_BYTES" in short.rejected[3]["reason"]
    assert short.column("raw_line") == [1, 1, 3]
