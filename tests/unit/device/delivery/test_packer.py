"""device.delivery.packer: readings into messages, none lost, none too long, few compressions."""

import gzip
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import contracts
from device.delivery import packer
from device.delivery.packer import Packed, Packer, pack
from device.readings.simulator import Simulator

LIMIT = 5_000


def readings(count: int) -> list[bytes]:
    simulator = Simulator(contracts.load("telemetry"), seed=1, clock=lambda: 1_790_000_000.0)
    return [json.dumps(simulator.reading()).encode() for _ in range(count)]


def packed(contents: list[bytes], limit: int) -> list[Packed]:
    filling = Packer(limit)
    messages = [message for content in contents for message in filling.add(content)]
    return [*messages, *filling.rest()]


def unpacked(payload: bytes) -> list[object]:
    text = gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload
    value = json.loads(text)
    return value if isinstance(value, list) else [value]


SIZES = st.lists(st.integers(0, 3_000), max_size=60)


@settings(deadline=None)
@given(sizes=SIZES, limit=st.integers(100, 4_000), dense=st.booleans(), seed=st.integers(0, 99))
def test_every_reading_is_in_one_message_in_order_and_only_single_ones_are_longer(
    sizes: list[int], limit: int, dense: bool, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # any text will do
    alphabet = "a" if dense else [chr(number) for number in range(0x100, 0x800)]
    contents = [
        json.dumps({"n": n, "x": "".join(chance.choices(alphabet, k=size))}).encode()
        for n, size in enumerate(sizes)
    ]
    messages = packed(contents, limit)
    assert [r for m in messages for r in unpacked(m.payload)] == [json.loads(c) for c in contents]
    assert [m.readings for m in messages] == [len(unpacked(m.payload)) for m in messages]
    assert all(len(m.payload) <= limit or m.readings == 1 for m in messages)
    assert sum(m.readings for m in messages) == len(contents)


def test_messages_are_almost_as_long_as_they_may_be() -> None:
    *full, _last = packed(readings(5_000), LIMIT)
    assert len(full) > 5
    assert min(len(message.payload) for message in full) >= 0.97 * LIMIT


def test_few_compressions_make_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def counted(contents: list[bytes]) -> bytes:
        nonlocal count
        count += 1
        return pack(contents)

    monkeypatch.setattr(packer, "pack", counted)
    messages = packed(readings(5_000), LIMIT)
    assert count <= 4 * len(messages)


def test_the_same_readings_make_the_same_bytes() -> None:
    assert packed(readings(500), LIMIT) == packed(readings(500), LIMIT)


def test_what_does_not_get_shorter_is_not_compressed() -> None:
    assert pack([b"{}"]) == b"{}"
    assert pack([b"{}", b"{}"]) == b"[{},{}]"
