"""Raw objects and their lines: what Firehose may write, and what nobody should."""

import base64
import gzip
import json
from typing import Any

import pytest

from telemetry_parser.raw import ObjectError
from tests.unit.parser.examples import ARRIVAL_MS, GOOD, RAW_KEY, line, parse_lines, parse_object


def test_a_row_says_whose_and_where_from_it_is() -> None:
    (row,) = parse_lines(line(b"x"), line(GOOD)).rows
    assert (row["thing_name"], row["customer"]) == ("thing-1", None)
    assert row["received_at"].timestamp() * 1000 == ARRIVAL_MS
    assert (row["raw_key"], row["raw_line"], row["reading_index"]) == (RAW_KEY, 2, 0)


def test_a_rejected_line_is_verbatim_and_says_where_it_was() -> None:
    bad = b'  {"payload": "\xff", \x00'
    (row,) = parse_lines(line(GOOD), bad).rejected
    assert base64.b64decode(row["line"]) == bad
    assert (row["raw_key"], row["raw_line"], row["reading_index"]) == (RAW_KEY, 2, None)
    assert row["path"] is None


def test_blank_lines_are_skipped_and_counted() -> None:
    outcome = parse_object(b"\n \t\r\n" + line(GOOD) + b"\n\n")
    assert outcome.column("raw_line") == [3]
    assert (outcome.result.lines, outcome.result.blank_lines) == (4, 3)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_end_of_the_last_line_does_not_matter(end: bytes) -> None:
    outcome = parse_object(line(GOOD) + b"\n" + line(GOOD) + end)
    assert outcome.column("raw_line") == [1, 2]


def test_carriage_returns_before_newlines_are_allowed_and_kept_in_what_is_rejected() -> None:
    outcome = parse_object(line(GOOD) + b"\r\nbad\r\n")
    assert len(outcome.rows) == 1
    assert base64.b64decode(outcome.rejected[0]["line"]) == b"bad\r"


@pytest.mark.parametrize("separator", ["\r", "\u2028", "\u0085", "\v", "\f", "\x1c"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    outcome = parse_object(line(GOOD) + separator.encode() + line(GOOD))
    assert outcome.result.lines == len(outcome.rejected) == 1


def test_two_records_on_one_line_are_rejected_together() -> None:
    both = line(GOOD) + line(GOOD)
    outcome = parse_lines(both, line(GOOD))
    assert outcome.column("raw_line") == [2]
    assert [base64.b64decode(row["line"]) for row in outcome.rejected] == [both]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"{}", id="empty object"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"null", id="null"),
        pytest.param(b"\x00" * 10, id="zeros"),
        pytest.param(b"\xef\xbb\xbf" + line(GOOD), id="byte order mark"),
        pytest.param(line(GOOD)[:-1], id="cut short"),
        pytest.param(line(GOOD, payload="a"), id="payload is not base64"),
        pytest.param(line(GOOD, payload=7), id="payload is a number"),
        pytest.param(line(GOOD, topic=None), id="no topic"),
        pytest.param(line(GOOD, received_at="now"), id="time is text"),
        pytest.param(line(GOOD, received_at=2**62), id="time beyond any calendar"),
        pytest.param(line(GOOD, topic="dt/dev/" + "x" * 250), id="topic is long"),
        pytest.param(b'{"x": ' + b"[" * 100_000, id="nested deeply"),
        pytest.param(line(GOOD)[:-1] + b', "x": "\xff"}', id="invalid UTF-8 in an unknown field"),
    ],
)
def test_a_line_that_is_no_envelope_is_rejected(bad: bytes) -> None:
    outcome = parse_lines(bad, line(GOOD))
    assert outcome.column("raw_line") == [2]
    assert outcome.result.rejected_by == {"line": 1}
    assert outcome.rejected[0]["reading_index"] is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "dt/dev/thing-1",
        "dt/dev/thing-1/other",
        "dt/dev/thing-1/telemetry/",
        "dt/dev/thing-1/telemetry/customer/more",
        "dt/dev//telemetry",
        "dt/DEV/thing-1/telemetry",
        "dt/dev/th ing/telemetry",
        "x/dev/thing-1/telemetry",
        "dt/dev/thing-1/telemetry\n",
        "$aws/rules/dev_telemetry/dt/dev/thing-1/telemetry",
    ],
)
def test_a_topic_of_another_form_is_rejected(topic: str) -> None:
    outcome = parse_lines(line(GOOD, topic=topic))
    assert outcome.rows == []
    assert outcome.result.rejected_by == {"topic": 1}


def test_a_customer_may_follow_the_channel() -> None:
    packed = line([GOOD, GOOD], topic="dt/dev/thing-8/telemetry/mnm")
    outcome = parse_lines(line(GOOD, topic="dt/dev/thing-9/telemetry/acme"), packed, line(GOOD))
    owners = [(row["raw_line"], row["thing_name"], row["customer"]) for row in outcome.rows]
    assert sorted(owners) == [
        (1, "thing-9", "acme"),
        (2, "thing-8", "mnm"),
        (2, "thing-8", "mnm"),
        (3, "thing-1", None),
    ]


def test_only_payload_topic_and_time_are_needed_of_a_line() -> None:
    of_others: dict[str, Any] = {
        "client_id": 7,
        "certificate_id": None,
        "trace_id": "x" * 300,
        "new": {},
    }
    assert len(parse_lines(line(GOOD, **of_others)).rows) == 1


def test_every_member_of_a_gzip_object_is_read() -> None:
    members = [gzip.compress(line({**GOOD, "sequence": n}) + b"\n") for n in range(3)]
    outcome = parse_object(b"".join(members))
    assert outcome.column("sequence") == [0, 1, 2]


def test_a_line_may_go_from_one_member_to_the_next() -> None:
    whole = line(GOOD)
    outcome = parse_object(gzip.compress(whole[:50]) + gzip.compress(whole[50:]))
    assert len(outcome.rows) == 1


def test_zero_padding_between_and_after_members_is_allowed() -> None:
    member = gzip.compress(line(GOOD) + b"\n")
    assert len(parse_object(member + bytes(700) + member + bytes(3)).rows) == 2


def test_plain_text_under_a_gz_name_is_read() -> None:
    assert len(parse_object(line(GOOD) + b"\n" + line(GOOD)).rows) == 2


@pytest.mark.parametrize("raw", [b"", gzip.compress(b"", mtime=0), gzip.compress(b"\n\n", mtime=0)])
def test_an_object_without_messages_has_no_output(raw: bytes) -> None:
    outcome = parse_object(raw)
    assert outcome.table is None
    assert outcome.rejected == []
    assert outcome.result.messages == 0
    assert outcome.result.readings_parsed == outcome.result.readings_rejected == 0


_WHOLE = gzip.compress(b"\n".join([line(GOOD)] * 500), mtime=0)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(_WHOLE[:2], id="magic bytes only"),
        pytest.param(_WHOLE[:9], id="header cut short"),
        pytest.param(_WHOLE[: len(_WHOLE) // 2], id="data cut short"),
        pytest.param(_WHOLE[:-1], id="length cut short"),
        pytest.param(_WHOLE[:-8], id="no checksum"),
        pytest.param(_WHOLE[:-8] + b"\x00\x01\x02\x03" + _WHOLE[-4:], id="wrong checksum"),
        pytest.param(_WHOLE[:-4] + b"\x00\x01\x02\x03", id="wrong length"),
        pytest.param(_WHOLE[:60] + b"\xff\xff\xff" + _WHOLE[63:], id="damaged data"),
        pytest.param(_WHOLE + _WHOLE[:40], id="second member cut short"),
        pytest.param(_WHOLE + b"garbage", id="garbage after it"),
    ],
)
def test_an_object_that_is_not_whole_gzip_is_refused(raw: bytes) -> None:
    with pytest.raises(ObjectError, match="expected whole gzip"):
        parse_object(raw)


@pytest.mark.parametrize(
    "payload",
    [
        gzip.compress(json.dumps(GOOD).encode())[:-3],
        b"\x1f\x8b",
        b"\x1f\x8b not gzip at all",
        gzip.compress(json.dumps(GOOD).encode()) + b"x",
        gzip.compress(json.dumps(GOOD).encode())[:-8] + bytes(8),
    ],
)
def test_a_gzip_payload_that_is_not_whole_is_rejected(payload: bytes) -> None:
    outcome = parse_lines(line(payload), line(GOOD))
    assert outcome.column("raw_line") == [2]
    assert outcome.result.rejected_by == {"gzip": 1}


def test_a_gzip_payload_may_have_several_members() -> None:
    text = json.dumps([GOOD, GOOD]).encode()
    payload = gzip.compress(text[:40]) + gzip.compress(text[40:])
    assert len(parse_lines(line(payload)).rows) == 2
