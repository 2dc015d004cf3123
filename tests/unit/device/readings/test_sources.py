"""device.readings: payloads from files, arguments and the simulator."""

import io
import json
from collections.abc import Iterator

import contracts
from device.delivery.mqtt import MAX_PAYLOAD_BYTES
from device.readings import sources
from device.readings.check import ReadingCheck
from device.readings.simulator import Simulator
from device.readings.sources import Payload, Source, Unusable

TELEMETRY = contracts.load("telemetry")


def shown(source: Source) -> list[tuple[str, bytes | str]]:
    return [(i.place, i.content if isinstance(i, Payload) else i.reason) for i in source]


def ndjson(content: bytes, *, verbatim: bool = False) -> list[tuple[str, bytes | str]]:
    return shown(sources.from_ndjson(io.BytesIO(content), verbatim=verbatim))


def csv(content: bytes) -> list[tuple[str, bytes | str]]:
    return shown(sources.from_csv(io.BytesIO(content), TELEMETRY))


def test_a_line_is_a_payload() -> None:
    assert ndjson(b'{"a":1}\r\n\n  \n[2]') == [("line 1", b'{"a":1}'), ("line 4", b"[2]")]


def test_lines_end_with_a_line_feed_only() -> None:
    text = '{"a":"\u2028\x85\x0b"}'.encode()
    assert ndjson(text + b"\n") == [("line 1", text)]


def test_verbatim_lines_keep_every_byte() -> None:
    content = b" a\r\n\n\x00\xff\n"
    assert ndjson(content, verbatim=True) == [
        ("line 1", b" a\r"),
        ("line 2", b""),
        ("line 3", b"\x00\xff"),
    ]


def test_a_line_that_no_message_can_hold_is_unusable_and_the_next_is_not() -> None:
    largest = b"x" * MAX_PAYLOAD_BYTES
    content = b"\n".join([largest, largest + b"x", largest * 3, b"y"])
    found = dict(ndjson(content))
    assert found["line 1"] == largest
    assert found["line 2"] == found["line 3"] == "expected at most 131072 bytes, got more"
    assert found["line 4"] == b"y"


def test_a_line_is_read_when_it_is_asked_for() -> None:
    class Pipe(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            assert line, "read ahead of what was written"
            return line

    source = sources.from_ndjson(Pipe(b"1\n"), verbatim=False)
    assert next(source) == Payload("line 1", b"1")


def test_arguments_are_sent_to_the_byte() -> None:
    assert shown(sources.from_messages(['{"a": 1}', "\udcff"])) == [
        ("message 1", b'{"a": 1}'),
        ("message 2", b"\xff"),
    ]


def test_a_cell_is_what_the_contract_says() -> None:
    found = csv(b"timestamp,temperature,status,firmware,pressure,other\n1,2.50,ok,1.0,null,7\n")
    assert found == [
        (
            "line 2",
            b'{"timestamp":1,"temperature":2.5,"status":"ok","firmware":"1.0","pressure":null,"other":"7"}',
        )
    ]


def test_an_empty_cell_is_an_absent_field() -> None:
    assert csv(b"timestamp,temperature\n1,\n") == [("line 2", b'{"timestamp":1}')]


def test_a_cell_of_the_wrong_type_stays_text_for_the_check_to_find() -> None:
    rows = b"timestamp,temperature,humidity,battery,status\nsoon,1,1,1,ok\n"
    source = sources.from_csv(io.BytesIO(rows), TELEMETRY)
    assert shown(sources.checked(source, ReadingCheck(TELEMETRY))) == [
        ("line 2", '$.timestamp: expected integer (milliseconds since 1970), got "soon"')
    ]


def test_rows_that_do_not_read_are_unusable_and_the_others_are_not() -> None:
    found = csv(b'timestamp,status\n1\n1,2,3\n2,\xff\n3,"a"b\n4,"two\nlines"\n5,ok\n')
    assert [place for place, _ in found] == [
        "line 2",
        "line 3",
        "line 4",
        "line 5",
        "line 7",
        "line 8",
    ]
    assert [isinstance(what, bytes) for _, what in found] == [
        False,
        False,
        False,
        False,
        True,
        True,
    ]


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_header() -> None:
    assert csv(b"\xef\xbb\xbftimestamp\r\n1\r\n") == [("line 2", b'{"timestamp":1}')]


def test_an_empty_csv_has_no_readings() -> None:
    assert csv(b"") == []


def test_a_nested_field_is_json_in_its_cell() -> None:
    document = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "integer"}}},
    }
    made = contracts.parse("made", json.dumps(document))
    assert shown(sources.from_csv(io.BytesIO(b'a\n"[1, 2]"\n'), made)) == [
        ("line 2", b'{"a":[1,2]}')
    ]


def test_simulated_readings_are_made_one_by_one() -> None:
    clock = iter(range(1_760_000_000, 1_760_000_010))
    source = sources.from_simulator(Simulator(TELEMETRY, seed=1, clock=lambda: next(clock)), 3)
    timestamps = [
        json.loads(item.content)["timestamp"] for item in source if isinstance(item, Payload)
    ]
    assert timestamps == [1_760_000_000_000, 1_760_000_001_000, 1_760_000_002_000]


def test_checking_keeps_the_order_and_the_bytes() -> None:
    good = json.dumps(
        {"timestamp": 1, "temperature": 1, "humidity": 1, "battery": 1, "status": "ok"}
    )

    def source() -> Iterator[Payload | Unusable]:
        yield Payload("line 1", b" " + good.encode())
        yield Unusable("line 2", "too long")
        yield Payload("line 3", b"{}")

    assert shown(sources.checked(source(), ReadingCheck(TELEMETRY))) == [
        ("line 1", b" " + good.encode()),
        ("line 2", "too long"),
        ("line 3", "$.timestamp: required field is missing"),
    ]
