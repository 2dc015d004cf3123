"""Each way in which JSON can be wrong, and what that costs: a reading, or a whole message."""

import contextlib
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_parser.decoder import ReadingDecoder
from telemetry_parser.rejections import MessageError
from telemetry_parser.settings import Limits
from tests.unit.parser.examples import (
    GOOD,
    TELEMETRY,
    contract,
    line,
    parse_lines,
    parse_reading,
    test_line,
)


def test_of_a_key_that_appears_twice_the_last_value_wins() -> None:
    of = contract(v={"type": "integer"})
    assert parse_reading(b'{"v": 1, "v": 2}', of).column("v") == [2]
    assert parse_reading(b'{"v": "x", "v": 2}', of).rows == []


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b'"\xff"', id="invalid UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="surrogate in UTF-8"),
        pytest.param(b'"\\ud800"', id="lone surrogate"),
        pytest.param(b'"\\udc00\\ud800"', id="swapped surrogates"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="nested 100,000 deep"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="objects 100,000 deep"),
    ],
)
@pytest.mark.parametrize("name", [b"v", b"unknown"])
def test_what_no_string_or_reader_can_hold_is_rejected_without_its_neighbours(
    bad: bytes, name: bytes
) -> None:
    good = b'{"v": "a\\\\ud800, ]}\\"["}'
    outcome = parse_lines(
        test_line(b'[%s, {"%s": %s}, %s]' % (good, name, bad, good)),
        test_line(b'{"%s": %s}' % (name, bad)),
        test_line(good),
        of=contract(v={"type": "string"}),
    )
    places = [(row["raw_line"], row["reading_index"]) for row in outcome.rows]
    assert sorted(places) == [(1, 0), (1, 2), (3, 0)]
    assert set(outcome.column("v")) == {'a\\ud800, ]}"['}
    assert [(row["raw_line"], row["reading_index"]) for row in outcome.rejected] == [(1, 1), (2, 0)]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n", id="blank"),
        pytest.param(b"[]", id="empty array"),
        pytest.param(b" [ ] ", id="empty array with blanks"),
        pytest.param(b"not json", id="text"),
        pytest.param(b"\x00\x01\x02", id="binary"),
        pytest.param(b'{"v": NaN}', id="NaN"),
        pytest.param(b'{"v": "1"', id="cut short"),
        pytest.param(b'[{"v": "x"}, {"v": 1}, {"v"', id="array cut short after a violation"),
        pytest.param(b'[{"v": 1}, {"v": "\\ud800"}, ', id="array cut short after a surrogate"),
        pytest.param(b'[{"v": 1}', id="array not closed"),
        pytest.param(b'[{"v": 1}, {"v": [1}]', id="bracket not closed"),
        pytest.param(b"[{'v': 'a ['}]", id="bracket in single quotes"),
        pytest.param(b'[{"v": 1}, {"v": 1]}]', id="brackets that cross"),
        pytest.param(b'[{"v": "\\ud800"}}', id="brackets that do not match"),
        pytest.param(b'[{"v": "\\ud800}]', id="string not closed"),
        pytest.param(b'[{"v": 1}, {"v": "a"b"}]', id="quote in a string"),
        pytest.param(b'[{"v": "\\ud800"}] x', id="something after it"),
        pytest.param(b'{"v": 1}{"v": 2}', id="two readings"),
        pytest.param(b'{"v": 1}\n{"v": 2}', id="two lines"),
        pytest.param(b"{'v': 1}", id="single quotes"),
        pytest.param(b'{"v": 01}', id="leading zero"),
        pytest.param(b'{"v": "\t"}', id="control character"),
        pytest.param(b'\xef\xbb\xbf{"v": 1}', id="byte order mark"),
        pytest.param('{"v": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param('{"v": 1}'.encode("utf-16-le"), id="UTF-16 without mark"),
    ],
)
def test_a_payload_that_is_not_whole_json_is_rejected_whole(payload: bytes) -> None:
    outcome = parse_lines(test_line(payload), of=contract(v={"type": "integer"}))
    assert outcome.rows == []
    ((path, _),) = outcome.reasons
    assert path is None
    assert outcome.rejected[0]["reading_index"] is None
    assert outcome.result.rejected_by == {"json": 1}


# A bad item of an array, and why it is not JSON.
NOT_JSON = {
    b'{"v": NaN}': "expected JSON: invalid character",
    b'{"v": -Infinity}': "expected JSON: invalid character",
    b'{"v": "", "w": 021.5}': "expected JSON: invalid number",
    b'{"v": +1}': "expected JSON: invalid character",
    b'{"v": .5}': "expected JSON: invalid character",
    b'{"v": "", "w": 1.}': "expected JSON: invalid number",
    b'{"v": "", "w": 1,}': "expected JSON: trailing comma in object",
    b"{'v': 'a, b'}": "expected JSON: object keys must be strings",
    b'{v: "]"}': "expected JSON: object keys must be strings",
    b'{"v": "a\nb"}': "expected JSON: invalid character",
    b'{"v": "\\x, ]"}': "expected JSON: invalid escape character in string",
    b'{"v": }': "expected JSON: invalid character",
    b'{"v"}': "expected JSON: expected ':'",
    b'{"v": ""} {"v": ""}': "expected JSON: trailing characters",
    b'{"v": "a"} // ok': "expected JSON: trailing characters",
    b'{"v": True}': "expected JSON: invalid character",
    b'{"v": "\\udc00"}': "a string holds half a surrogate pair",
    b'{"v": "\\ud800", "w": NaN}': "expected JSON: ",
    b'{"v": "\xff"}': "expected UTF-8",
    b"nonsense": "expected JSON: invalid character",
    b"": "expected a reading, got nothing between commas",
    b" \n": "expected a reading, got nothing between commas",
}


@pytest.mark.parametrize(("item", "reason"), NOT_JSON.items())
def test_an_item_that_is_not_json_is_rejected_without_its_neighbours(
    item: bytes, reason: str
) -> None:
    outcome = parse_lines(
        test_line(b'[{"v": "x"},%s,{"v": "]"}]' % item), of=contract(["v"], v={"type": "string"})
    )
    assert outcome.column("v") == ["x", "]"]
    assert outcome.column("reading_index") == [0, 2]
    ((path, found),) = outcome.reasons
    assert found.startswith(reason)
    assert (path, outcome.rejected[0]["reading_index"]) == ("$", 1)
    assert "byte" not in found, "the same fault has the same reason"


_good_items = st.fixed_dictionaries(
    {"v": st.text(max_size=6)}, optional={"w": st.lists(st.text(max_size=3) | st.floats(-1, 1))}
).map(lambda reading: json.dumps(reading).encode())
_blanks = st.text(" \t\r\n", max_size=2).map(str.encode)


@given(
    st.lists(
        st.tuples(_blanks, _good_items | st.sampled_from(sorted(NOT_JSON)), _blanks),
        min_size=2,
    )
)
def test_of_any_array_each_good_item_arrives_and_each_bad_one_is_rejected_at_its_index(
    items: list[tuple[bytes, bytes, bytes]],
) -> None:
    payload = b",".join(before + item + after for before, item, after in items)
    outcome = parse_lines(
        test_line(b"[" + payload + b"]"), of=contract(["v"], v={"type": "string"})
    )
    bad = [index for index, (_, item, _) in enumerate(items) if item in NOT_JSON]
    good = [json.loads(item)["v"] for _, item, _ in items if item not in NOT_JSON]
    assert outcome.column("v") == good
    assert [row["reading_index"] for row in outcome.rejected] == bad


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b"[" * 100_000, id="open brackets"),
        pytest.param(b'"' * 100_001, id="quotes"),
        pytest.param(b'"' + b"\\" * 100_001, id="backslashes"),
        pytest.param(b'{"a":"\\ud800' * 10_000, id="surrogates"),
        pytest.param(b"'" * 100_000, id="apostrophes"),
        pytest.param(b"[]{}" * 25_000, id="brackets"),
        pytest.param(b"," * 100_000, id="commas"),
        pytest.param(b"[" * 50_000 + b"]" * 50_000, id="nested"),
    ],
)
def test_an_array_of_a_megabyte_that_was_made_to_be_slow_is_taken_apart(hostile: bytes) -> None:
    # In one pass it takes a moment; a search that starts anew at each byte would take hours.
    payload = b'[{"v": NaN},' + hostile * (2**20 // len(hostile)) + b"]"
    with contextlib.suppress(MessageError):
        found = ReadingDecoder(TELEMETRY, Limits()).decode(payload, most_rejections=10**7)
        assert not found.values
        assert found.rejections[0].path == "$"


def test_each_reading_of_a_packed_message_stands_alone() -> None:
    readings = [GOOD, GOOD | {"temperature": 99}, GOOD, {}, 7, GOOD]
    outcome = parse_lines(line(gzip.compress(json.dumps(readings).encode())))
    assert outcome.column("reading_index") == [0, 2, 5]
    assert [(row["reading_index"], row["path"]) for row in outcome.rejected] == [
        (1, "$.temperature"),
        (3, "$.timestamp"),
        (4, "$"),
    ]
