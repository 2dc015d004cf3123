"""The sink and a broker that goes away or ends connections: nothing is lost, and nothing blocks."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from device.delivery import connector
from device.delivery.mqtt import ACKNOWLEDGED, PublishOutcome, PublishResult
from device.errors import (
    ConnectionDropped,
    ConnectionRefused,
    Unreachable,
)
from tests.unit.device.delivery.sinks import (
    fail,
    make,
    numbered,
    numbers,
    sent_numbers,
    wait_until,
)
from tests.unit.device.fake_broker import FakeConnection


def test_it_comes_back_after_losses_and_sends_again_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "_FIRST_BACKOFF_SECONDS", 0.01)
    first = FakeConnection(*[None] * 5, Unreachable("lost"))
    unreachable = FakeConnection()
    unreachable.connect = lambda: fail(Unreachable("nobody"))  # type: ignore[method-assign]
    last = FakeConnection()
    connections = iter([first, unreachable, last])
    with make(tmp_path, lambda: next(connections), pack=False) as taking:
        for number in range(8):
            taking.put_payload(numbered(number))
        assert taking.flush(10)
        assert taking.totals().published == 8
    assert sent_numbers(first) == [0, 1, 2, 3, 4]
    assert sent_numbers(last) == list(range(8))
    assert last.sent[:5] == first.sent


def test_a_final_no_ends_the_attempts_but_not_the_taking(tmp_path: Path) -> None:
    taken_over = ConnectionRefused("another client has connected with this client id")
    attempts = []

    def connect() -> FakeConnection:
        attempts.append(FakeConnection(taken_over))
        return attempts[-1]

    taking = make(tmp_path, connect, max_linger_seconds=0.0)
    taking.put_payload(numbered(1))
    wait_until(lambda: taking.failure is taken_over)
    taking.put_payload(numbered(2))
    with pytest.raises(ConnectionRefused, match="another client"):
        taking.close()
    assert len(attempts) == 1
    broker = FakeConnection()
    with make(tmp_path, broker):
        pass
    assert sent_numbers(broker) == [1, 2]


def test_a_broker_that_always_hangs_up_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "_FIRST_BACKOFF_SECONDS", 0.001)
    dropped = ConnectionDropped("not active, or not known")
    attempts = []

    def connect() -> FakeConnection:
        attempts.append(FakeConnection())
        attempts[-1].connect = lambda: fail(dropped)  # type: ignore[method-assign]
        return attempts[-1]

    taking = make(tmp_path, connect)
    wait_until(lambda: taking.failure is dropped)
    assert len(attempts) == 3
    taking.close()


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_was_connected_may_drop_connections_for_longer(tmp_path: Path) -> None:
    attempts: list[FakeConnection] = []
    dropped = ConnectionDropped("the broker ended the connection without a word")

    def connect() -> FakeConnection:
        attempts.append(FakeConnection())
        if len(attempts) == 1:
            attempts[0].failure = dropped
        elif len(attempts) < 6:
            attempts[-1].connect = lambda: fail(dropped)  # type: ignore[method-assign]
        return attempts[-1]

    with make(tmp_path, connect) as taking:
        wait_until(lambda: len(attempts) == 6 or taking.failure)
        assert taking.failure is None


class Broker:
    """Takes connections and ends them over some messages; what else was in flight is lost too.

    Args:
        hangs_up: Over which message, told by the number of its reading.
        times: How often it still does.
    """

    def __init__(self, hangs_up: Callable[[int], bool], times: float = math.inf) -> None:
        self.hangs_up = hangs_up
        self.times = times
        self.acknowledged: list[int] = []
        self.sent: list[int] = []

    def connect(self) -> "_Connected":
        return _Connected(self)


class _Connected(FakeConnection):
    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker
        self._waiting: list[tuple[int, Future[PublishResult]]] = []
        self._lock = threading.Lock()

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        (number,) = numbers(payload)
        future: Future[PublishResult] = Future()
        with self._lock:
            if self.failure is not None:
                raise self.failure
            self.sent.append((topic, payload))
            self._broker.sent.append(number)
            self._waiting.append((number, future))
        threading.Timer(0.002, self._read).start()
        return future

    def _read(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            broker = self._broker
            if broker.times > 0 and any(broker.hangs_up(number) for number, _ in waiting):
                broker.times -= 1
                self.failure = ConnectionDropped("the broker ended the connection 3 times")
        for number, future in waiting:
            if self.failure is not None:
                future.set_result(PublishResult(PublishOutcome.UNKNOWN, "hung up", hung_up=True))
            else:
                broker.acknowledged.append(number)
                future.set_result(ACKNOWLEDGED)

    def close(self) -> None:
        self._read()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(connector, "_LONGEST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(connector, "_POLL_SECONDS", 0.001)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "poison",
    [
        pytest.param({0}, id="first"),
        pytest.param({7}, id="in the middle"),
        pytest.param(set(range(3, 12)), id="many in a row"),
        pytest.param({0, 5, 6, 30, 38}, id="here and there"),
    ],
)
def test_a_message_over_which_the_broker_hangs_up_is_refused_and_the_others_go_on(
    tmp_path: Path, poison: set[int]
) -> None:
    broker = Broker(poison.__contains__)
    with make(tmp_path, broker.connect, pack=False) as taking:
        for number in range(40):
            taking.put_payload(numbered(number), wait=False)
        assert not taking.flush(30)
        totals = taking.totals()
    assert sorted(broker.acknowledged) == sorted(set(range(40)) - poison)
    assert (totals.refused, totals.acknowledged) == (len(poison), 40 - len(poison))
    assert (totals.spooled, totals.unknown) == (len(poison), 0)
    assert totals.published == totals.taken == 40
    assert taking.reasons()["refused: the broker ends the connection"] == len(poison)
    # It is on disk, and the next run sends it again.
    broker = Broker(lambda _: False)
    with make(tmp_path, broker.connect, pack=False) as taking:
        assert taking.flush(10)
        assert taking.totals().acknowledged == taking.totals().earlier == len(poison)
    assert broker.acknowledged == sorted(poison)


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_hangs_up_over_everything_is_given_up_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    broker = Broker(lambda _: True)
    taking = make(tmp_path, broker.connect, pack=False)
    for number in range(20):
        taking.put_payload(numbered(number))
    wait_until(lambda: taking.failure)
    assert isinstance(taking.failure, ConnectionDropped)
    with pytest.raises(ConnectionDropped):
        taking.close()
    assert taking.totals().refused < 20
    assert taking.totals().spooled == 20
    broker = Broker(lambda _: False)
    with make(tmp_path, broker.connect, pack=False) as taking:
        assert taking.flush(30)
    assert sorted(broker.acknowledged) == list(range(20))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_after_a_broker_hung_up_for_a_while_everything_arrives_at_once_or_when_it_is_sent_again(
    tmp_path: Path, times: int
) -> None:
    broker = Broker(lambda _: True, times)
    with make(tmp_path, broker.connect, pack=False) as taking:
        for number in range(20):
            taking.put_payload(numbered(number), wait=False)
        everything_arrived = taking.flush(30)
        assert taking.totals().refused == 20 - len(broker.acknowledged) <= times - 1
        assert everything_arrived == (times == 1)
    with make(tmp_path, broker.connect, pack=False) as taking:
        assert taking.flush(30)
    assert sorted(broker.acknowledged) == list(range(20))


@pytest.mark.usefixtures("impatient")
def test_a_message_that_was_alone_when_the_broker_hung_up_is_refused_and_new_ones_go_on(
    tmp_path: Path,
) -> None:
    broker = Broker({0}.__contains__)
    with make(tmp_path, broker.connect, pack=False) as taking:
        taking.put_payload(numbered(0))
        assert not taking.flush(10)
        assert (taking.totals().refused, taking.totals().spooled) == (1, 1)
        taking.put_payload(numbered(1))
        assert not taking.flush(10)
        assert (taking.totals().refused, taking.totals().spooled) == (1, 1)
    assert broker.acknowledged == [1]


@pytest.mark.usefixtures("impatient")
def test_a_packed_message_is_refused_whole_and_every_reading_of_it_counted(
    tmp_path: Path,
) -> None:
    broker = Broker(lambda first: first == 0)
    with make(tmp_path, broker.connect, max_linger_seconds=0.0) as taking:
        taking.put_payload(b"[" + numbered(0) + b"]")
        taking.put_payload(numbered(1))
        assert not taking.flush(10)
        assert taking.totals().refused == 1
        assert taking.totals().acknowledged == 1
