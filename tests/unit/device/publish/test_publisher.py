"""The publisher: it takes as much as the spool holds, keeps to the rate, and stops when told to."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result

import contracts
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED
from device.delivery.publisher import Publisher, PublishingReport
from device.delivery.sink import Sink
from device.delivery.spool import Additions, Spool
from device.errors import ExitStatus, SpoolError, SpoolFull
from device.readings.check import ReadingCheck
from device.readings.sources import Payload, Source, Unusable
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.publish.publishing import (
    GOOD,
    REFUSED,
    payloads,
    publisher,
    summary,
)


def test_checking_keeps_the_order_and_the_bytes_and_names_what_does_not_fit() -> None:
    def source() -> Source:
        yield Payload(1, b" " + GOOD.encode())
        yield Unusable(2, "too long")
        yield Payload(3, b"{}")
        yield Payload(4, GOOD.encode())

    broker, lines = FakeConnection(), list[str]()
    check = ReadingCheck(contracts.load("telemetry"))
    result = publisher(broker, check=check, say=lines.append).publish(source())
    assert [payload for _, payload in broker.sent] == [b" " + GOOD.encode(), GOOD.encode()]
    assert lines == [
        "reading 2: too long",
        "reading 3: $.timestamp: required field is missing",
    ]
    assert result.invalid == 2


def test_the_number_of_messages_without_an_answer_is_bounded() -> None:
    broker = FakeConnection(*[None] * 1000)
    answering = threading.Event()

    def answer() -> None:
        while not answering.wait(0.005):
            broker.answer_all(ACKNOWLEDGED)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        result = publisher(broker).publish(payloads(1000))
    finally:
        answering.set()
        thread.join()
    assert result.totals.acknowledged == result.totals.published == 1000
    assert broker.most_pending <= mqtt.MAX_UNACKNOWLEDGED


def test_a_full_spool_is_waited_for() -> None:
    broker = FakeConnection(*[None] * 1000)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        threading.Timer(0.1, answering.start).start()

    def answer() -> None:
        while not answered.wait(0.01):
            broker.answer_all(ACKNOWLEDGED)

    answered, answering = threading.Event(), threading.Thread(target=answer)
    source = (Payload(number, b"x" * 100_000) for number in range(1, 201))  # the spool has 16 MB
    result = publisher(broker, say=say).publish(source)
    answered.set()
    answering.join()
    assert result.totals.acknowledged == 200
    assert lines == ["the spool is full; waiting for the broker"]


def test_a_full_disk_is_waited_for_like_a_full_spool_as_answers_make_room() -> None:
    class OnAFullDisk(Spool):
        def add(self, additions: Additions) -> None:
            if self.count().waiting >= 10:
                raise SpoolFull("no room on the disk")
            super().add(additions)

    publishing = publisher(FakeConnection(), OnAFullDisk(None, max_bytes=1 << 24))
    result = publishing.publish(payloads(200))
    assert result.status() is ExitStatus.OK
    assert result.totals.acknowledged == result.totals.taken == 200


def test_a_full_disk_is_not_waited_for_when_nothing_is_left_that_could_make_room() -> None:
    class OnAFullDisk(Spool):
        def add(self, additions: Additions) -> None:
            raise SpoolFull(f"no room on the disk for {additions.size_bytes} bytes")

    publishing = publisher(FakeConnection(), OnAFullDisk(None, max_bytes=1 << 24))

    def slowly() -> Source:
        for number in range(1, 101):
            yield Payload(number, b"x")
            time.sleep(0.01)  # it is found full while readings still come

    result = publishing.publish(slowly())
    assert result.status() is ExitStatus.SPOOL
    assert isinstance(result.failure, SpoolFull)
    assert (result.totals.taken, result.totals.published) == (0, 0)
    assert not result.complete


def test_keeps_to_the_rate() -> None:
    started = time.monotonic()
    publisher(FakeConnection(), rate=50).publish(payloads(11))
    assert time.monotonic() - started >= 0.2


def test_ctrl_c_waits_for_answers_on_their_way_and_tells_what_was_sent(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeConnection(ACKNOWLEDGED, None)

    def interrupted(*_: object, **__: object) -> Iterator[Payload | Unusable]:
        yield from payloads(2)
        threading.Timer(0.05, broker.answer_all, [REFUSED]).start()
        raise KeyboardInterrupt

    monkeypatch.setattr("device.readings.sources.from_simulator", interrupted)
    result = command("--no-check", "--format", "json", broker=broker)
    assert result.exit_code == ExitStatus.INTERRUPTED
    assert summary(result)["published"] == 2
    assert summary(result)["refused"] == 1
    assert "interrupted; the rest was not published" in result.stderr
    assert broker.closed


def test_a_second_ctrl_c_does_not_wait() -> None:
    def interrupt_again(so_far: PublishingReport) -> None:
        if so_far.totals.unknown:
            raise KeyboardInterrupt

    told = publisher(FakeConnection(None), progress=interrupt_again)
    started = time.monotonic()
    result = told.publish(payloads(1))
    assert time.monotonic() - started < 2
    assert result.interrupted
    assert (result.totals.published, result.totals.unknown) == (1, 1)


def test_a_spool_that_fails_leaves_no_line_before_the_one_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = Spool(None, max_bytes=1 << 24)
    add, calls = spool.add, iter(range(1_000_000))

    def failing_add(*arguments: Any) -> None:
        if next(calls) >= 3:
            raise SpoolError("cannot write the spool")
        add(*arguments)

    monkeypatch.setattr(spool, "add", failing_add)
    taking = Sink(
        spool,
        "a/topic",
        FakeConnection,
        check=None,
        pack=False,
        max_linger_seconds=10.0,
        when_full="refuse",
    )
    source = (Payload(number, b"%d" % number) for number in range(1, 100_001))
    result = Publisher(taking, progress=lambda _: None, say=lambda _: None).publish(source)
    assert result.failure is not None
    assert result.reached == result.totals.taken
