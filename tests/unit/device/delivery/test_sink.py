"""The sink: every reading it takes arrives, whatever happens; duplicates have the same bytes."""

import json
import math
import shutil
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import contracts
from device.delivery import prices
from device.delivery.mqtt import PublishOutcome, PublishResult
from device.errors import (
    SpoolError,
    Unreachable,
)
from device.readings.check import ReadingCheck, ReadingError
from tests.unit.device.delivery.sinks import (
    GOOD,
    TOPIC,
    fail,
    make,
    numbered,
    sent_numbers,
    wait_until,
)
from tests.unit.device.fake_broker import FakeConnection

HUNG_UP = PublishResult(PublishOutcome.UNKNOWN, "the broker ended the connection", hung_up=True)


def test_what_was_put_is_packed_sent_and_gone(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker) as taking:
        for number in range(1000):
            taking.put_payload(numbered(number), wait=False)
        assert taking.flush(10)
        totals = taking.totals()
    assert sent_numbers(broker) == list(range(1000))
    assert totals.taken == totals.published == totals.acknowledged == 1000
    assert totals.spooled == totals.unknown == totals.refused == 0
    assert totals.messages == totals.units == len(broker.sent) < 10
    assert totals.cost_usd * 100 < totals.cost_unpacked_usd
    assert broker.closed


def test_a_reading_is_on_disk_when_put_returns(tmp_path: Path) -> None:
    def unreachable() -> Any:
        connection = FakeConnection()
        connection.connect = lambda: fail(Unreachable("nobody"))  # type: ignore[method-assign]
        return connection

    taking = make(tmp_path, unreachable)
    taking.put_payload(numbered(7))
    copied = tmp_path / "killed"
    copied.mkdir()
    for file in tmp_path.glob("spool.db*"):
        shutil.copy(file, copied)
    taking.close(0)
    broker = FakeConnection()
    with make(copied, broker) as after:
        assert after.totals().earlier == 1
        assert after.flush(10)
    assert sent_numbers(broker) == [7]


def test_many_threads_put_and_nothing_is_lost_or_mixed(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker) as taking:

        def put(first: int) -> None:
            for number in range(first, first + 100):
                taking.put_payload(numbered(number))

        threads = [threading.Thread(target=put, args=(100 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert taking.totals().taken == 800
        assert taking.flush(10)
    sent = sent_numbers(broker)
    assert sorted(sent) == list(range(800))
    for n in range(8):  # each thread's own order stays
        own = [number for number in sent if number // 100 == n]
        assert own == sorted(own)


def test_a_reading_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker, max_linger_seconds=0.05) as taking:
        taking.put_payload(numbered(1))
        wait_until(lambda: sent_numbers(broker) == [1])


def test_a_reading_may_wait_for_ever(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker, max_linger_seconds=math.inf) as taking:
        for number in range(3):
            taking.put_payload(numbered(number))
            time.sleep(0.02)
        assert broker.sent == []
    assert sent_numbers(broker) == [0, 1, 2]


@pytest.mark.parametrize("seconds", [math.nan, -1.0])
def test_what_is_no_duration_is_said_at_once(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="expected seconds to linger"):
        make(tmp_path, FakeConnection(), max_linger_seconds=seconds)
    make(tmp_path, FakeConnection()).close()  # the spool is not in use any more


def test_without_packing_each_reading_is_its_own_message(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker, pack=False) as taking:
        for number in range(3):
            taking.put_payload(numbered(number))
    assert [payload for _, payload in broker.sent] == [numbered(0), numbered(1), numbered(2)]


def test_a_message_is_just_under_a_metering_unit(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker) as taking:
        for number in range(20_000):
            taking.put_payload(numbered(number * 7919), wait=False)
    sizes = [len(TOPIC) + len(payload) for _, payload in broker.sent]
    assert max(sizes) <= prices.METERING_UNIT_BYTES
    assert min(sizes[:-1]) > 0.95 * prices.METERING_UNIT_BYTES


def test_a_reading_too_long_for_any_message_is_refused_clearly(tmp_path: Path) -> None:
    with make(tmp_path, FakeConnection()) as taking:
        with pytest.raises(ReadingError, match="expected a reading of at most 131072 bytes"):
            taking.put_payload(b'{"x":"' + b"x" * 131072 + b'"}')
        taking.put_payload(b'{"n":1,"x":"' + b"x" * 131000 + b'"}')


def test_a_payload_sent_as_it_is_stays_as_it_is(tmp_path: Path) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker) as taking:
        taking.put_payload(b"\x00 not json\r")
    assert broker.sent == [(TOPIC, b"\x00 not json\r")]


def test_put_checks_the_contract(tmp_path: Path) -> None:
    check = ReadingCheck(contracts.load("telemetry"))
    broker = FakeConnection()
    with make(tmp_path, broker, check=check) as taking:
        with pytest.raises(ReadingError, match=r"\$\.temperature"):
            taking.put({**GOOD, "temperature": "warm"})
        taking.put(GOOD)
    assert json.loads(broker.sent[0][1]) == [GOOD] or json.loads(broker.sent[0][1]) == GOOD


@pytest.mark.parametrize("check", [ReadingCheck(contracts.load("telemetry")), None])
@pytest.mark.parametrize(
    "reading",
    [
        {**GOOD, "temperature": math.nan},
        {**GOOD, "temperature": Decimal(21)},
        {**GOOD, "extra": "\ud800"},
        {**GOOD, "extra": {1}},
        {**GOOD, "extra": b"x"},
        [GOOD, GOOD],
        None,
    ],
)
def test_what_is_not_one_reading_in_json_is_refused_and_nothing_of_it_is_taken(
    tmp_path: Path, reading: Any, check: ReadingCheck | None
) -> None:
    broker = FakeConnection()
    with make(tmp_path, broker, check=check) as taking:
        with pytest.raises(ReadingError):
            taking.put(reading)
        taking.put(GOOD)
        assert taking.totals().taken == 1
    assert [json.loads(payload) for _, payload in broker.sent] == [GOOD]


def test_nothing_can_be_put_after_close(tmp_path: Path) -> None:
    taking = make(tmp_path, FakeConnection())
    taking.close()
    taking.close()
    with pytest.raises(SpoolError, match="closed"):
        taking.put_payload(b"{}")
