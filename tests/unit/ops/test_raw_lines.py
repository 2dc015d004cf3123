"""ops.raw_lines: what a device sent, whatever it is."""

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.raw_lines import envelope_of, payload_of, thing_of, time_of


def line(payload: bytes) -> str:
    envelope = {"payload": base64.b64encode(payload).decode(), "topic": "dt/dev/a/telemetry"}
    return base64.b64encode(json.dumps(envelope).encode()).decode()


PACKED = b'[{"n": 1.10}, {"n": "x",  "n": 2}]'


@pytest.mark.parametrize(
    ("payload", "index", "text"),
    [
        (b'{"n": 1.10}', None, '{"n": 1.10}'),
        (b'{"n": 1.10}', 0, '{"n": 1.10}'),
        (PACKED, 1, '{"n": "x",  "n": 2}'),
        (PACKED, None, PACKED.decode()),
        (PACKED, 7, PACKED.decode()),
        (gzip.compress(PACKED, mtime=0), 0, '{"n": 1.10}'),
        (gzip.compress(PACKED, mtime=0)[:-8], None, PACKED.decode()),
        (b'[{"n": 1}, {"n": NaN}, {"n": 2}]', 1, '{"n": NaN}'),
        (b"[{},", 0, "[{},"),
        (b"battery low", None, "battery low"),
        (b"", None, ""),
        (b"\xff\x00caf\xc3\xa9", None, "\\xff\x00caf\xe9"),
        (b"\x1f\x8bnot gzip", None, "\x1f\\x8bnot gzip"),
        (b"[" * 100_000, 0, "[" * 100_000),
    ],
)
def test_shows_the_reading_that_was_rejected_as_it_was_sent(
    payload: bytes, index: int | None, text: str
) -> None:
    assert payload_of(line(payload), index) == text


@pytest.mark.parametrize(
    "raw", [b"", b"no envelope", b"[]", b'{"payload": 1}', b'{"payload": "?"}', b"{}"]
)
def test_a_line_that_is_no_envelope_is_shown_itself(raw: bytes) -> None:
    assert payload_of(base64.b64encode(raw).decode(), None) == raw.decode()


def test_what_is_not_base64_is_shown_itself() -> None:
    assert payload_of("*", None) == "*"


def test_a_payload_that_expands_without_end_is_shown_in_part() -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    assert len(payload_of(line(bomb), None)) == 8 * 2**20


@given(st.binary(), st.none() | st.integers(0, 3))
def test_any_payload_can_be_shown(payload: bytes, index: int | None) -> None:
    assert isinstance(payload_of(line(payload), index), str)
    assert isinstance(payload_of(base64.b64encode(payload).decode(), index), str)


@pytest.mark.parametrize("raw", [b"", b"no envelope", b"[]", b"1", b"[" * 100_000])
def test_a_line_that_is_no_envelope_has_neither_topic_nor_time(raw: bytes) -> None:
    assert envelope_of(base64.b64encode(raw).decode()) == {}


@pytest.mark.parametrize(
    ("topic", "thing"),
    [
        ("dt/dev/a/telemetry", "a"),
        ("dt/dev/a/telemetry/acme", "a"),
        ("dt/dev/a", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_the_thing_is_the_third_level_of_the_topic(topic: object, thing: str | None) -> None:
    assert thing_of(topic) == thing


@pytest.mark.parametrize(
    ("received_at", "text"),
    [
        (1_790_000_000_123, "2026-09-21 14:13:20.123"),
        (None, None),
        ("1790000000123", None),
        (10**30, None),
        (float("nan"), None),
    ],
)
def test_the_time_of_arrival_has_athenas_form(received_at: object, text: str | None) -> None:
    assert time_of(received_at) == text
