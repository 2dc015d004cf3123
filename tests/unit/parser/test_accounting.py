"""The accounting identity, over generated contracts and payloads, fitting and not."""

import gzip
import json
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import Contract
from telemetry_parser.raw import ObjectError
from tests.unit.parser import strategies
from tests.unit.parser.examples import GOOD, Outcome, line, parse_object, test_line
from tests.unit.parser.oracle import check_accounting, check_values

property_test = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def raw_object(messages: list[list[Any]], *, things: int = 3) -> bytes:
    """Messages of one reading plain, of several as an array; every third one gzip."""
    lines = []
    for number, readings in enumerate(messages):
        payload = json.dumps(readings if len(readings) > 1 else readings[0]).encode()
        if number % 3 == 2:
            payload = gzip.compress(payload)
        lines.append(test_line(payload, topic=f"dt/dev/thing-{number % things}/test"))
    return gzip.compress(b"\n".join(lines))


def what(outcome: Outcome) -> list[str]:
    """Rows and rejections without their place in the object, in an order of their own."""
    placeless = [
        {key: value for key, value in row.items() if key != "raw_line"}
        for row in outcome.rows + outcome.rejected
    ]
    return sorted(map(repr, placeless))


@property_test
@given(st.data())
def test_each_reading_is_a_row_with_its_values_or_rejected_with_its_line(
    data: st.DataObject,
) -> None:
    contract: Contract = data.draw(strategies.contract_models)
    messages = data.draw(strategies.messages(contract))
    raw = raw_object(messages)
    outcome = parse_object(raw, contract)
    check_accounting(raw, outcome)
    check_values(contract, messages, outcome)


@property_test
@given(st.data())
def test_the_order_of_lines_does_not_matter(data: st.DataObject) -> None:
    contract: Contract = data.draw(strategies.contract_models)
    messages = data.draw(strategies.messages(contract))
    lines = gzip.decompress(raw_object(messages)).split(b"\n")
    shuffled = data.draw(st.permutations(lines))
    assert what(parse_object(b"\n".join(shuffled), contract)) == what(
        parse_object(b"\n".join(lines), contract)
    )


@property_test
@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=6))
def test_no_neighbour_changes_what_becomes_of_a_line(neighbours: list[bytes]) -> None:
    alone = parse_object(line(GOOD))
    # As gzip, since a plain object that begins with gzip's magic bytes would be taken for it.
    among = parse_object(gzip.compress(b"\n".join([*neighbours, line(GOOD), *neighbours])))
    assert what(alone) == [
        repr(row)
        for row in (
            {key: value for key, value in row.items() if key != "raw_line"} for row in among.rows
        )
    ]


@property_test
@given(st.data())
def test_no_reading_changes_what_becomes_of_another_in_its_message(data: st.DataObject) -> None:
    contract: Contract = data.draw(strategies.contract_models)
    # By itself, an array is a message of readings, and not one of them.
    one = strategies.readings(contract).filter(lambda reading: not isinstance(reading, list))
    readings = data.draw(st.lists(one, min_size=2, max_size=4))
    apart = parse_object(raw_object([[reading] for reading in readings], things=1), contract)
    packed = parse_object(test_line(readings), contract)
    fields = [field.column for field in contract.fields]
    assert sorted(
        (row["reading_index"], repr([row[name] for name in fields])) for row in packed.rows
    ) == sorted((row["raw_line"] - 1, repr([row[name] for name in fields])) for row in apart.rows)
    assert [(row["reading_index"], row["path"], row["reason"]) for row in packed.rejected] == [
        (row["raw_line"] - 1, row["path"], row["reason"]) for row in apart.rejected
    ]


@property_test
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_accounted_for_or_refused(content: bytes, compress: bool) -> None:
    raw = gzip.compress(content) if compress else content
    if raw.startswith(b"\x1f\x8b") and not compress:
        return
    check_accounting(raw, parse_object(raw))


@property_test
@given(st.randoms(use_true_random=False))
def test_damaged_lines_are_accounted_for(source: random.Random) -> None:
    content = bytearray(
        b"\n".join([line([GOOD, GOOD]), line(gzip.compress(line(GOOD))), line(GOOD)])
    )
    for _ in range(source.randrange(1, 6)):
        place = source.randrange(len(content))
        match source.randrange(3):
            case 0:
                content[place] = source.randrange(256)
            case 1:
                del content[place : place + source.randrange(1, 30)]
            case 2:
                content[place:place] = bytes([source.choice(b'\n\r{}[]",:0\\\x00\xff')])
        if not content:
            return
    check_accounting(bytes(content), parse_object(bytes(content)))


@property_test
@given(st.randoms(use_true_random=False))
def test_a_damaged_gzip_object_is_refused_or_read_whole(source: random.Random) -> None:
    whole = gzip.compress(b"\n".join([line(GOOD), line([GOOD] * 3)]), mtime=0)
    damaged = bytearray(whole)
    place = source.randrange(10, len(damaged))
    if source.random() < 0.5:
        del damaged[place:]
    else:
        damaged[place] ^= 1 << source.randrange(8)
    try:
        outcome = parse_object(bytes(damaged))
    except ObjectError:
        return
    assert what(outcome) == what(parse_object(whole)), "the bit was one that gzip does not use"
