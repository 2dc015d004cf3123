"""Lines and payloads that are decoded together give what each would give alone."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_parser.decoder import decode_all
from telemetry_parser.message import NO_ENVELOPE, Envelope, decode_line, decode_lines
from telemetry_parser.rejections import MessageError

# Text in which whatever separates lines, or opens and closes objects, turns up everywhere.
_pieces = st.sampled_from(["{", "}", "[", "]", ",", ":", '"', "\n", "1", "a", "{}", '"a":1', "é"])
_scraps = st.lists(_pieces, max_size=8).map("".join)
_envelopes = st.recursive(
    st.integers() | _scraps | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_scraps, inner, max_size=2),
    max_leaves=4,
).map(lambda value: {"payload": "", "topic": "t", "received_at": 1, "x": value})


@st.composite
def cut_texts(draw: st.DrawFn) -> list[bytes]:
    """Envelopes over several lines, cut wherever a line ends, or elsewhere, or not at all."""
    indent = draw(st.sampled_from([None, 0]))
    envelopes = draw(st.lists(_envelopes, min_size=1, max_size=4))
    text = "\n".join(json.dumps(one, indent=indent) for one in envelopes)
    return text.encode().split(draw(st.sampled_from([b"\n", b", ", b"}\n{", b": "])))


def envelope_of(line: bytes) -> Envelope:
    try:
        return decode_line(line)
    except MessageError:
        return NO_ENVELOPE


@given(lines=cut_texts() | st.lists(_scraps.map(str.encode) | st.binary(max_size=3), max_size=4))
def test_each_line_has_its_own_envelope_or_none(lines: list[bytes]) -> None:
    assert decode_lines(lines) == [envelope_of(line) for line in lines]


GOOD = b'{"payload":"","topic":"t","received_at":1}'


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([GOOD[:-1] + b',"x":"}', b'{"}', GOOD + GOOD], id="a string across two"),
        pytest.param([GOOD + GOOD, GOOD[:-1] + b',"x":{}', b',"y":{}}'], id="an end too many"),
        pytest.param([GOOD + GOOD, b'{"x":[', GOOD + b"]}"], id="a start too many"),
        pytest.param([GOOD + GOOD, b"{}"], id="two in one"),
        pytest.param([GOOD, b" "], id="none in one"),
        pytest.param([GOOD, b""], id="an empty one"),
        pytest.param([GOOD, GOOD[:-1] + b',"x":"\xff"}'], id="not UTF-8, in what is skipped"),
        pytest.param([GOOD[:-1] + b',"x":' + b"[" * 10**5 + b"]" * 10**5 + b"}"], id="nested"),
        pytest.param([], id="nothing"),
    ],
)
def test_lines_that_only_together_look_right_are_told_apart(lines: list[bytes]) -> None:
    assert decode_lines(lines) == [envelope_of(line) for line in lines]


@given(texts=st.lists(_scraps.map(str.encode) | st.just(b'{"b":2}') | st.binary(max_size=3)))
def test_a_bad_text_costs_no_other(texts: list[bytes]) -> None:
    decoder = msgspec.json.Decoder(dict[str, Any])
    nothing: dict[str, Any] = {"none": True}

    def alone(text: bytes) -> dict[str, Any]:
        try:
            text.decode()
            return decoder.decode(text)
        except ValueError:
            return nothing

    assert decode_all(decoder, texts, nothing) == [alone(text) for text in texts]
