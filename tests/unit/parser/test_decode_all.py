"""Texts that are decoded in one loop give what each would give alone."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_parser.decoder import decode_all

ANY = msgspec.json.Decoder(dict[str, Any])
NOT_ONE: dict[str, Any] = {"none": True}

_pieces = st.sampled_from(["{", "}", "[", ",", ":", '"', "\n", "1", "a", "{}", '{"a":1}', "é"])
_texts = st.lists(_pieces, max_size=4).map("".join).map(str.encode) | st.binary(max_size=3)


def alone(text: bytes) -> dict[str, Any]:
    try:
        text.decode()
        return ANY.decode(text)
    except ValueError:
        return NOT_ONE


@given(texts=st.lists(_texts | st.just(b'{"b":2}'), max_size=8))
def test_each_text_has_its_own_value_or_the_default(texts: list[bytes]) -> None:
    assert decode_all(ANY, texts, NOT_ONE) == [alone(text) for text in texts]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b'{"x":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"x":' + 100_000 * b"[" + 100_000 * b"]" + b"}", id="nested deeply"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_bad_text_costs_no_other(bad: bytes) -> None:
    good = b'{"a":1}'
    found = decode_all(ANY, [bad, good, bad, bad, good, bad], NOT_ONE)
    assert found == [NOT_ONE, {"a": 1}, NOT_ONE, NOT_ONE, {"a": 1}, NOT_ONE]
