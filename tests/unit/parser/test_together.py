"""Objects that are decoded in one pass are those that would have been decoded one by one."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_parser.together import decode_together

ANY = msgspec.json.Decoder(dict[str, Any])


class Reading(msgspec.Struct):
    """Knows one field, so that the decoder skips the others."""

    a: int = 0


READING = msgspec.json.Decoder(Reading)

# Text in which whatever separates texts, or opens and closes objects, turns up everywhere.
_pieces = st.sampled_from(["{", "}", "[", "]", ",", ":", '"', "\n", "1", "a", "{}", '"a":1', "é"])
_scraps = st.lists(_pieces, max_size=8).map("".join)
_objects = st.recursive(
    st.integers() | _scraps | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_scraps, inner, max_size=2),
    max_leaves=4,
).map(lambda value: {"a": 1, "x": value})


@st.composite
def cut_texts(draw: st.DrawFn) -> list[bytes]:
    """Objects over several lines, cut wherever a line ends, or elsewhere, or not at all."""
    indent = draw(st.sampled_from([None, 0]))
    objects = draw(st.lists(_objects, min_size=1, max_size=4))
    text = "\n".join(json.dumps(one, indent=indent) for one in objects)
    return text.encode().split(draw(st.sampled_from([b"\n", b", ", b"}\n{", b": "])))


def one_by_one(decoder: msgspec.json.Decoder[Any], texts: list[bytes]) -> list[Any] | None:
    try:
        for text in texts:
            text.decode()
        return [decoder.decode(text) for text in texts]
    except (ValueError, RecursionError):
        return None


@pytest.mark.parametrize("decoder", [ANY, READING])
@given(texts=cut_texts() | st.lists(_scraps.map(str.encode) | st.binary(max_size=3), max_size=4))
def test_no_text_is_decoded_that_would_not_be_alone(
    decoder: msgspec.json.Decoder[Any], texts: list[bytes]
) -> None:
    found = decode_together(decoder, texts)
    if found is not None:
        assert found == one_by_one(decoder, texts)


@given(objects=st.lists(_objects, min_size=1))
def test_whole_objects_are_decoded_together(objects: list[Any]) -> None:
    assert decode_together(ANY, [json.dumps(one).encode() for one in objects]) == objects


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([b'{"x":"}', b'{"}', b'{"a":1}{"a":2}'], id="a string across two"),
        pytest.param([b'{"a":1}{"a":2}', b'{"x":{}', b',"y":{}}'], id="an end after a whole one"),
        pytest.param([b'{"a":1}{"a":2}', b'{"x":[', b"{}]}"], id="a start before a whole one"),
        pytest.param([b'{"a":1}{"a":2}', b"{}"], id="two in one"),
        pytest.param([b'{"a":1}', b" "], id="none in one"),
        pytest.param([b'{"a":1}', b""], id="an empty one"),
        pytest.param([b'{"a":1}', b'{"x":"\xff"}'], id="not UTF-8, in what is skipped"),
        pytest.param([b'{"a":1}', b'{"a":"1"}'], id="of the wrong type"),
        pytest.param([b'{"x":' + 100_000 * b"[" + 100_000 * b"]" + b"}"], id="nested deeply"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_cannot_be_decoded_together_is_left_to_be_decoded_each(texts: list[bytes]) -> None:
    assert decode_together(READING, texts) is None
