"""The worker, killed at any step: what was taken arrives, and duplicates have the same bytes."""

import contextlib
import gzip
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from device.delivery.mqtt import ACKNOWLEDGED, PublishOutcome, PublishResult
from device.delivery.outbox import QueuedPayload
from device.delivery.spool import Additions, Spool
from device.delivery.worker import Worker
from device.errors import SpoolError
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.fakes import Killed, Steps

TOPIC = "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"
REFUSED = PublishResult(PublishOutcome.REFUSED, "not authorized (135)")
UNKNOWN = PublishResult(PublishOutcome.UNKNOWN, "no answer within 20 s")
HUNG_UP = PublishResult(PublishOutcome.UNKNOWN, "the broker ended the connection", hung_up=True)


def numbers(payload: bytes) -> list[int]:
    text = gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload
    value = json.loads(text)
    return [reading["n"] for reading in (value if isinstance(value, list) else [value])]


class World:
    """A device and its broker, run by hand; ``delivered`` is what the broker has got."""

    def __init__(self, folder: Path, steps: Steps | None = None) -> None:
        self._folder = folder
        self._lives = 0
        self._steps = steps or Steps()
        self.delivered: list[tuple[str, bytes]] = []
        self.pending: list[tuple[tuple[str, bytes], Future[PublishResult]]] = []
        self._numbers = iter(range(10**6))
        self.put: list[int] = []  # and not on disk yet
        self.taken: list[int] = []
        self._path = folder / "0" / "spool.db"
        self._path.parent.mkdir()
        self.start()

    def start(self) -> None:
        self.spool = _Crashing(self._path, self._steps, self._crash_files)
        self.worker = Worker(
            self.spool, TOPIC, max_linger_seconds=60.0, when_full="refuse", clock=time.time
        )

    def _crash_files(self) -> None:
        """What is on disk at this moment is what the next life finds."""
        self._lives += 1
        folder = self._folder / str(self._lives)
        folder.mkdir()
        for file in self._path.parent.iterdir():
            if not file.name.endswith("-reserve"):
                shutil.copy(file, folder)
        self._path = folder / self._path.name

    def kill(self, *, delivers: bool) -> None:
        self._crash_files()
        self.restart(delivers)

    def restart(self, delivers: bool) -> None:
        with contextlib.suppress(SpoolError):
            self.spool._database.close()
        if delivers:
            self.delivered += [message for message, _ in self.pending]
        self.pending.clear()
        self.put.clear()
        self.start()

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        self._steps.tick()
        answer: Future[PublishResult] = Future()
        self.pending.append(((topic, payload), answer))
        self._steps.tick()
        return answer

    def take(self, count: int) -> None:
        for _ in range(count):
            number = next(self._numbers)
            self.put.append(number)
            # Long enough for a few to fill a message.
            filler = bytes((number * 7919 * n) % 94 + 33 for n in range(1, 400))
            text = filler.replace(b'"', b"'").replace(b"\\", b"/")
            self.worker.put(QueuedPayload(b'{"n":%d,"x":"%s"}' % (number, text), pack=True))

    def round(self) -> None:
        self.worker.round()
        self.taken += self.put
        self.put.clear()

    def linger(self) -> None:
        self.worker.flushing = 1
        self.round()
        self.worker.flushing = 0

    def connect(self, connected: bool) -> None:
        self.worker.connection = _Connected(self) if connected else None
        if not connected:
            self.answer(len(self.pending), UNKNOWN, delivers=False)
        self.round()

    def hang_up(self) -> None:
        self.answer(len(self.pending), HUNG_UP, delivers=False)
        self.connect(connected=False)

    def answer(self, count: int, delivery: PublishResult, *, delivers: bool) -> None:
        for message, answer in self.pending[:count]:
            if delivers:
                self.delivered.append(message)
            answer.set_result(delivery)
        del self.pending[:count]

    def drain(self) -> None:
        """One more run in which nothing goes wrong."""
        self._crash_files()
        self.restart(delivers=True)
        self.worker.connection = _Connected(self)
        self.worker.flushing = 1
        for _ in range(1000):
            self.round()
            if not self.pending:
                break
            self.answer(len(self.pending), ACKNOWLEDGED, delivers=True)
        assert self.worker.tally.spooled == 0
        self.spool._database.close()

    def check(self) -> None:
        by_number: dict[int, set[tuple[str, bytes]]] = {}
        for message in self.delivered:
            for number in numbers(message[1]):
                by_number.setdefault(number, set()).add(message)
        assert set(self.taken) <= set(by_number), "taken, but never delivered"
        assert all(len(messages) == 1 for messages in by_number.values()), "different duplicates"


class _Connected(FakeConnection):
    """The connection of a world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        return self._world.publish(topic, payload)


class _Crashing(Spool):
    """A spool whose process may be killed before every statement, and after every call."""

    def __init__(self, path: Path, steps: Steps, crash: Callable[[], None]) -> None:
        self._steps = steps
        self._crash = crash
        self._killed = False
        super().__init__(path, max_bytes=1 << 28)
        self._database.set_trace_callback(self._before_statement)

    def _before_statement(self, _: str) -> None:
        # SQLite swallows exceptions; what happens after this moment is not in the next life.
        if not self._killed:
            with contextlib.suppress(Killed):
                self._tick()

    def _tick(self) -> None:
        try:
            self._steps.tick()
        except Killed:
            self._killed = True
            self._crash()
            raise

    def _after_call(self) -> None:
        if self._killed:
            raise Killed
        self._tick()

    def add(self, additions: Additions) -> None:
        super().add(additions)
        self._after_call()

    def remove(self, message_ids: Iterable[int]) -> None:
        super().remove(message_ids)
        self._after_call()

    def note_refusals(self, message_ids: Collection[int], now: float) -> None:
        super().note_refusals(message_ids, now)
        self._after_call()


ACTIONS = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 30)),
    st.tuples(st.just("round"), st.just(0)),
    st.tuples(st.just("linger"), st.just(0)),
    st.tuples(st.just("connect"), st.booleans()),
    st.tuples(st.just("acknowledge"), st.integers(1, 5)),
    st.tuples(st.just("refuse"), st.integers(1, 2)),
    st.tuples(st.just("lose the answer"), st.integers(1, 5)),
    st.tuples(st.just("lose the message"), st.integers(1, 5)),
    st.tuples(st.just("hang up"), st.just(0)),
    st.tuples(st.just("kill"), st.booleans()),
)


@settings(deadline=None, max_examples=60)
@given(actions=st.lists(ACTIONS, max_size=40))
def test_whatever_happens_what_was_taken_arrives_and_duplicates_are_the_same_bytes(
    actions: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for action, value in actions:
            match action:
                case "take":
                    world.take(value)
                case "round":
                    world.round()
                case "linger":
                    world.linger()
                case "connect":
                    world.connect(bool(value))
                case "acknowledge":
                    world.answer(value, ACKNOWLEDGED, delivers=True)
                case "refuse":
                    world.answer(value, REFUSED, delivers=False)
                case "lose the answer":
                    world.answer(value, UNKNOWN, delivers=True)
                case "lose the message":
                    world.answer(value, UNKNOWN, delivers=False)
                case "hang up":
                    world.hang_up()
                case "kill":
                    world.kill(delivers=bool(value))
        world.drain()
        world.check()


def _a_life(world: World) -> None:
    world.connect(connected=True)
    for _ in range(3):
        world.take(25)
        world.round()
        world.answer(2, ACKNOWLEDGED, delivers=True)
        world.take(3)
        world.round()
    world.linger()
    world.answer(1, UNKNOWN, delivers=True)
    world.round()
    world.answer(99, ACKNOWLEDGED, delivers=True)
    world.round()


def test_killed_at_every_single_step_it_loses_nothing(tmp_path: Path) -> None:
    steps = Steps()
    whole = World(_folder(tmp_path), steps)
    _a_life(whole)
    whole.spool.close()
    total = steps.count
    assert total > 80
    for step in range(1, total + 1):
        steps.run_until(None)
        world = World(_folder(tmp_path), steps)
        steps.run_until(step)
        killed = False
        try:
            _a_life(world)
        except Killed:
            killed = True
        steps.run_until(None)
        if killed and world._lives == 0:  # in the midst of sending
            world._crash_files()
        if killed:
            world.restart(delivers=step % 2 == 0)
        world.drain()
        world.check()


def _folder(root: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=root))
