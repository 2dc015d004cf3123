"""Payloads from lines, arguments and the simulator."""

import io
import json

import contracts
from device.delivery.mqtt import MAX_PAYLOAD_BYTES
from device.readings import sources
from device.readings.simulator import Simulator
from device.readings.sources import Payload, Source

TELEMETRY = contracts.load("telemetry")


def shown(source: Source) -> list[tuple[int, bytes | str]]:
    return [(i.number, i.payload if isinstance(i, Payload) else i.reason) for i in source]


def ndjson(content: bytes, *, verbatim: bool = False) -> list[tuple[int, bytes | str]]:
    return shown(sources.from_ndjson(io.BytesIO(content), verbatim=verbatim))


def test_a_line_is_a_payload() -> None:
    assert ndjson(b'{"a":1}\r\n\n  \n[2]') == [(1, b'{"a":1}'), (4, b"[2]")]


def test_lines_end_with_a_line_feed_only() -> None:
    text = '{"a":"\u2028\x85\x0b"}'.encode()
    assert ndjson(text + b"\n") == [(1, text)]


def test_verbatim_lines_keep_every_byte() -> None:
    content = b" a\r\n\n\x00\xff\n"
    assert ndjson(content, verbatim=True) == [(1, b" a\r"), (2, b""), (3, b"\x00\xff")]


def test_a_line_that_no_message_can_hold_is_unusable_and_the_next_is_not() -> None:
    largest = b"x" * MAX_PAYLOAD_BYTES
    content = b"\n".join([largest, largest + b"x", largest * 3, b"y"])
    found = dict(ndjson(content))
    assert found[1] == largest
    assert found[2] == found[3] == "expected at most 131072 bytes, got more"
    assert found[4] == b"y"


def test_a_line_is_read_when_it_is_asked_for() -> None:
    class Pipe(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            assert line, "read ahead of what was written"
            return line

    source = sources.from_ndjson(Pipe(b"1\n"), verbatim=False)
    assert next(source) == Payload(1, b"1")


def test_arguments_are_sent_byte_for_byte() -> None:
    assert shown(sources.from_messages(['{"a": 1}', "\udcff"])) == [
        (1, b'{"a": 1}'),
        (2, b"\xff"),
    ]


def test_simulated_readings_are_made_one_by_one() -> None:
    clock = iter(range(1_760_000_000, 1_760_000_010))
    source = sources.from_simulator(Simulator(TELEMETRY, seed=1, clock=lambda: next(clock)), 3)
    timestamps = [
        json.loads(item.payload)["timestamp"] for item in source if isinstance(item, Payload)
    ]
    assert timestamps == [1_760_000_000_000, 1_760_000_001_000, 1_760_000_002_000]
