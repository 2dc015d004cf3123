"""The sink: every reading it takes arrives, whatever happens; duplicates have the same bytes."""

import gzip
import json
import math
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import contracts
import device
from device import identity
from device.delivery import connector, mqtt, outbox, prices, worker
from device.delivery.mqtt import ACKNOWLEDGED, Outcome, PublishResult
from device.delivery.sink import Sink
from device.delivery.spool import Additions, Spool
from device.errors import (
    ConnectionDropped,
    ConnectionRefused,
    SpoolError,
    SpoolFull,
    Unreachable,
)
from device.readings.check import ReadingCheck, ReadingError
from device.registry.registration import provision
from tests.unit.device.fakes import FakeConnection, FakeIot, environment

TOPIC = "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"
REFUSED = PublishResult(Outcome.REFUSED, "not authorized (135)")
UNKNOWN = PublishResult(Outcome.UNKNOWN, "no answer within 20 s")
HUNG_UP = PublishResult(Outcome.UNKNOWN, "the broker ended the connection", hung_up=True)
NOW = 1_795_000_000.0  # in November 2026
GOOD = {
    "timestamp": 1_790_000_000_123,
    "temperature": 1,
    "humidity": 1,
    "battery": 1,
    "status": "ok",
}


def make(folder: Path, connection: Any, **options: Any) -> Sink:
    max_bytes = options.pop("max_bytes", 1 << 28)
    spool = options.pop("spool", None) or Spool(folder / "spool.db", max_bytes=max_bytes)
    connect = connection if callable(connection) else lambda: connection
    defaults = {"check": None, "pack": True, "max_linger_seconds": 60.0, "when_full": "refuse"}
    return Sink(spool, TOPIC, connect, **{**defaults, **options})


def numbered(number: int) -> bytes:
    return b'{"n":%d}' % number


def numbers(payload: bytes) -> list[int]:
    text = gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload
    value = json.loads(text)
    return [reading["n"] for reading in (value if isinstance(value, list) else [value])]


def sent_numbers(connection: FakeConnection) -> list[int]:
    return [number for _, payload in connection.sent for number in numbers(payload)]


def wait_until(holds: Any) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


# With its threads.


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


def fail(error: Exception) -> None:
    raise error


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


def test_a_message_without_an_answer_is_sent_again(tmp_path: Path) -> None:
    broker = FakeConnection(UNKNOWN)
    with make(tmp_path, broker) as taking:
        taking.put_payload(numbered(1))
    assert len(broker.sent) == 2
    assert broker.sent[0] == broker.sent[1]


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
                future.set_result(PublishResult(Outcome.UNKNOWN, "hung up", hung_up=True))
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


def test_a_refused_message_blocks_nothing_and_goes_out_with_the_next_run(tmp_path: Path) -> None:
    broker = FakeConnection(REFUSED)
    with make(tmp_path, broker, pack=False) as taking:
        taking.put_payload(numbered(1))
        taking.put_payload(numbered(2))
        assert not taking.flush(10)
        totals = taking.totals()
        assert (totals.refused, totals.acknowledged, totals.spooled) == (1, 1, 1)
        assert taking.reasons() == {"refused: not authorized (135)": 1}
    again = FakeConnection()
    with make(tmp_path, again) as taking:
        assert taking.flush(10)
    assert again.sent == broker.sent[:1]


def test_a_refused_message_is_tried_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.05)
    broker = FakeConnection(REFUSED)
    with make(tmp_path, broker, pack=False) as taking:
        taking.put_payload(numbered(1))
        wait_until(lambda: taking.totals().acknowledged == 1)
        assert taking.totals().refused == 0
    assert len(broker.sent) == 2


def test_what_is_refused_for_a_week_is_dropped_and_counted(tmp_path: Path) -> None:
    with make(tmp_path, FakeConnection(REFUSED), clock=lambda: NOW) as taking:
        taking.put_payload(numbered(1))
    later = NOW + worker.REFUSED_KEPT_SECONDS + 1
    with make(tmp_path, FakeConnection(), clock=lambda: later) as taking:
        assert taking.totals().dropped == 1
        assert taking.totals().spooled == 0


def test_a_full_spool_refuses_what_is_new(tmp_path: Path) -> None:
    silent = FakeConnection(*[None] * 1000)
    taking = make(tmp_path, silent, pack=False, max_bytes=1)
    with pytest.raises(SpoolFull, match="was not taken"):  # noqa: PT012  # which one, is open
        for _ in range(1000):
            taking.put_payload(b"x" * 1000)
    assert 10 < taking.totals().taken < 100
    wait_until(lambda: len(silent.sent) == taking.totals().taken)
    silent.answer_all(ACKNOWLEDGED)
    wait_until(lambda: taking.totals().spooled == 0)
    taking.put_payload(b"x" * 1000)
    taking.close(0)


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    offline = FakeConnection()
    offline.connect = lambda: fail(Unreachable("nobody"))  # type: ignore[method-assign]
    taking = make(tmp_path, offline, pack=False, max_bytes=1, when_full="drop_oldest")
    for number in range(200):
        taking.put_payload(b'{"n":%d,"x":"%s"}' % (number, b"x" * 1000))
    totals = taking.totals()
    taking.close(0)
    assert totals.taken == 200
    assert totals.dropped == 200 - totals.spooled > 100
    broker = FakeConnection()
    with make(tmp_path, broker):
        pass
    assert sent_numbers(broker) == list(range(totals.dropped, 200))


class Broken(Spool):
    def add(self, additions: Additions) -> None:
        self._database.close()
        super().add(additions)


def test_a_broken_spool_is_said_to_every_caller_of_put(tmp_path: Path) -> None:
    spool = Broken(tmp_path / "spool.db", max_bytes=1 << 28)
    taking = make(tmp_path, FakeConnection(), spool=spool, pack=False)
    for _ in range(2):
        with pytest.raises(SpoolError, match="damaged"):
            taking.put_payload(b"{}")
    assert isinstance(taking.failure, SpoolError)
    with pytest.raises(SpoolError):
        taking.flush(1)


def test_a_spool_that_breaks_before_anyone_asks_is_said_when_the_sink_is_closed(
    tmp_path: Path,
) -> None:
    spool = Broken(tmp_path / "spool.db", max_bytes=1 << 28)
    taking = make(tmp_path, FakeConnection(), spool=spool, pack=False)
    taking.put_payload(b"{}", wait=False)
    wait_until(lambda: taking.failure)
    with pytest.raises(SpoolError, match="damaged"):
        taking.close()


# The library's front door.


@pytest.fixture
def own(tmp_path: Path) -> identity.Identity:
    return provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None)


def test_open_takes_a_folder_or_an_identity(
    own: identity.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeConnection()
    monkeypatch.setattr(mqtt, "Connection", lambda _: broker)
    for given_as in (own, own.folder, str(own.folder)):
        with device.open(given_as) as taking:
            taking.put(GOOD)
    assert {topic for topic, _ in broker.sent} == {TOPIC}
    assert len(broker.sent) == 3
    spool = own.folder / "spool"
    assert spool.stat().st_mode & 0o777 == 0o700
    assert (spool / "spool.db").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_a_spool_error(own: identity.Identity) -> None:
    own.spool_path.parent.touch()
    with pytest.raises(SpoolError, match=r"cannot use the folder .* for the spool: File exists"):
        device.open(own)


def test_importing_the_package_loads_next_to_nothing() -> None:
    code = "import sys, device; print(*sorted(n for n in sys.modules if n.split('.')[0] in %s))"
    heavy = {"awscrt", "boto3", "cryptography", "msgspec", "sqlite3", "click", "rich"}
    found = subprocess.run(
        [sys.executable, "-c", code % heavy],
        capture_output=True,
        text=True,
        check=True,
        cwd=identity.PROJECT_ROOT,
    )
    assert found.stdout.strip() == ""


def test_an_unknown_field_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "Connection", lambda _: FakeConnection())
    folder = provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None).folder
    with device.open(folder) as opened:
        for _ in range(3):
            opened.put({**GOOD, "timestamp": 1_790_000_000_123, "wind": 1})
        assert opened.unknown_fields() == {"wind": 3}
    assert [record.getMessage() for record in caplog.records] == [
        'the contract has no field "wind"; its values are kept in the raw data only'
    ]
