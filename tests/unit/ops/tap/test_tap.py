"""ops.tap: each message once, whatever it holds, with the bad field marked; bounded reads."""

import base64
import gzip
import io
import json
from pathlib import Path

import pytest

from ops.tap import messages, show
from ops.tap.messages import Fault
from telemetry_parser.parser import Parser
from tests.unit.ops.tap.examples import (
    BAD,
    CONTRACT,
    GOOD,
    NOW,
    READER,
    message,
    plain,
    raw_line,
)


def test_a_message_is_one_line_that_says_where_from_and_how_old() -> None:
    text = plain(message(GOOD))
    assert text.startswith(
        "2026-11-25 10:30:00.000Z  sensor-1  (message via mqtt, 1 min 10 s old)  {"
    )
    assert '"temperature": 21.5' in text
    assert ">>>" not in text


def test_the_bad_field_is_marked_and_the_line_ends_with_the_reason() -> None:
    text = plain(message([GOOD, BAD, {**BAD, "status": 7}]))
    assert "[reading 1 of 3]" in text
    assert '"temperature": >>>"very hot"<<<, "humidity"' in text
    assert "at $.temperature, and 1 more" in text
    assert "\x1b[31m>>>" in show.line(message(BAD), NOW)


def test_a_missing_field_has_a_reason_and_no_mark() -> None:
    without = {name: value for name, value in GOOD.items() if name != "status"}
    text = plain(message(without))
    assert "status" in text.partition("  ! ")[2]
    assert ">>>" not in text


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\x00\x1b[2J\x07", id="control characters"),
        pytest.param(b"\x1f\x8b damaged", id="no gzip"),
        pytest.param(gzip.compress(b"[1, 2]")[:-9], id="cut gzip"),
        pytest.param(b"[" * 100_000, id="very deep"),
        pytest.param(b"[" * 900 + b"]" * 900, id="just decodable"),
        pytest.param(b'{"a":' * 60 + b"1" + b"}" * 60, id="deep object"),
        pytest.param([], id="empty array"),
        pytest.param([[], {}, None, "x", 1e308], id="no readings"),
        pytest.param({**BAD, "temperature": ">>>\ue000<<<\n\x1b[31m"}, id="marks of our own"),
        pytest.param({**GOOD, "status": "\ud800"}, id="half a surrogate pair"),
        pytest.param({**GOOD, "temperature": 10**400}, id="huge number"),
        pytest.param({**GOOD, "temperature": {"$.a": [1]}}, id="another type"),
        pytest.param(b'{"temperature": NaN}', id="NaN"),
        pytest.param({"\x1b[2J$.": 1, "": {"": 1}}, id="hostile names"),
    ],
)
def test_any_payload_is_one_line_without_control_characters(payload: object) -> None:
    for tapped in (message(payload), READER.raw_line("raw", raw_line(payload), "raw/k", 1)):
        text = plain(tapped)
        assert text.isprintable()
        assert len(text) < 1200
        json.dumps(show.record(tapped, NOW))
        assert tapped.error or tapped.faults, "none of these is a good message"


@pytest.mark.parametrize(
    "line", [b"no envelope \x1b", b"[]", b"{}", b'{"payload": "e30=", "topic": {}}', b"\xff"]
)
def test_a_raw_line_that_is_no_envelope_is_one_line(line: bytes) -> None:
    assert plain(READER.raw_line("raw", line, "raw/k", 1)).isprintable()
    assert messages.rejected(line).error == "not a rejected line"
    assert plain(messages.rejected(line)).isprintable()


def test_a_rejected_reading_is_shown_with_its_reason_as_the_parser_wrote_it(
    tmp_path: Path,
) -> None:
    rejected = tmp_path / "rejected"
    Parser(CONTRACT).parse(
        io.BytesIO(raw_line([GOOD, BAD])),
        raw_key="raw/k",
        parquet_path=tmp_path / "parquet",
        rejected_path=rejected,
    )
    (line,) = gzip.decompress(rejected.read_bytes()).splitlines()
    tapped = messages.rejected(line)
    assert tapped.payload == BAD
    assert (tapped.raw_key, tapped.raw_line) == ("raw/k", 1)
    (fault,) = tapped.faults
    assert (fault.reading_index, fault.path) == (1, "$.temperature")
    assert '>>>"very hot"<<<' in plain(tapped)
    assert READER.raw_line("raw", raw_line([GOOD, BAD]), "raw/k", 1).faults == (fault,)


@pytest.mark.parametrize("index", [-1, 7, "1", None, {}])
def test_a_rejected_line_with_a_hostile_index_is_still_shown(index: object) -> None:
    document = {
        "reason": "r",
        "path": "$.a",
        "raw_key": "k",
        "raw_line": 1,
        "reading_index": index,
        "line": base64.b64encode(raw_line([GOOD])).decode(),
    }
    assert plain(messages.rejected(json.dumps(document).encode())).isprintable()


def test_the_first_fault_decides_what_is_shown_of_a_packed_message() -> None:
    tapped = message([GOOD] * 400)
    assert "[reading 0 of 400]" in plain(tapped)
    assert tapped.faults == ()
    assert message([]).faults == (Fault(None, "expected a reading, got an empty array", None),)
