"""A spool whose disk, or whose limit, is full can still be emptied, and nothing is lost."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

import pytest

from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.delivery.sink import Sink
from device.delivery.spool import Spool
from device.errors import SpoolFull, Unreachable

TOPIC = "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"
MEBIBYTE = 1024 * 1024
ANY_SIZE = 256 * MEBIBYTE
SMALL = 300 * 1024


class Offline:
    """A broker that cannot be reached."""

    failure = None

    def connect(self) -> None:
        raise Unreachable("nobody answers")

    def publish(self, _topic: str, _payload: bytes) -> "Future[PublishResult]":
        raise AssertionError("not connected")

    def close(self) -> None:
        pass


class Online(Offline):
    """A broker that acknowledges everything at once."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def connect(self) -> None:
        pass

    def publish(self, _topic: str, payload: bytes) -> "Future[PublishResult]":
        self.received.append(payload)
        answer: Future[PublishResult] = Future()
        answer.set_result(ACKNOWLEDGED)
        return answer


def make(
    folder: Path,
    connection: Offline,
    *,
    max_bytes: int = ANY_SIZE,
    spool: Spool | None = None,
    when_full: Literal["refuse", "drop_oldest"] = "refuse",
) -> Sink:
    return Sink(
        spool or Spool(folder / "spool.db", max_bytes=max_bytes),
        TOPIC,
        lambda: connection,
        check=None,
        pack=False,
        max_linger_seconds=10.0,
        when_full=when_full,
    )


def payload(number: int, size: int) -> bytes:
    return b"%d " % number + b"x" * size


def used_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("spool.db*"))


def fill(folder: Path, *, max_bytes: int, size: int) -> list[bytes]:
    """Put payloads while the broker is away, until there is no room; return what was taken."""
    taken: list[bytes] = []
    sink = make(folder, Offline(), max_bytes=max_bytes)
    try:
        with pytest.raises(SpoolFull):  # noqa: PT012  # which one, is open
            for number in range(1_000_000):
                sink.put_payload(payload(number, size))
                taken.append(payload(number, size))
    finally:
        sink.close(0)
    return taken


def drain(folder: Path, *, max_bytes: int) -> list[bytes]:
    """Open the spool again with a broker that answers; return what it got."""
    broker = Online()
    with make(folder, broker, max_bytes=max_bytes) as sink:
        assert sink.flush(60)
        sink.put_payload(b"one more")
        assert sink.flush(60)
    assert broker.received.pop() == b"one more"
    return broker.received


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system of 8 MiB needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill_up(disk: Path) -> None:
    """Leave not one byte free, as a log file might."""
    with (disk / "log").open("wb", buffering=0) as log:
        try:
            while True:
                log.write(bytes(4096))
        except OSError:
            pass
    assert os.statvfs(disk).f_bavail == 0


@pytest.mark.parametrize("size", [100, 5_000, 100_000])
@pytest.mark.parametrize("max_bytes", [ANY_SIZE, SMALL])
def test_a_spool_on_a_full_disk_drains(small_disk: Path, max_bytes: int, size: int) -> None:
    if max_bytes == SMALL:
        size = min(size, 10_000)
    taken = fill(small_disk, max_bytes=max_bytes, size=size)
    assert len(taken) > 5
    fill_up(small_disk)
    assert drain(small_disk, max_bytes=max_bytes) == taken


def test_a_disk_that_fills_up_while_the_spool_is_open_keeps_nothing_from_being_sent(
    small_disk: Path,
) -> None:
    broker = Online()
    answers: list[Future[PublishResult]] = []
    broker.publish = lambda _topic, payload: _later(broker, answers, payload)  # type: ignore[method-assign]
    sink = make(small_disk, broker, max_bytes=ANY_SIZE)
    for number in range(300):
        sink.put_payload(payload(number, 5_000))
    fill_up(small_disk)
    taken = 300
    with pytest.raises(SpoolFull):  # noqa: PT012  # which one, is open
        for _ in range(10_000):
            sink.put_payload(payload(taken, 5_000))
            taken += 1
    until = time.monotonic() + 60
    while not sink.flush(0.01):
        assert time.monotonic() < until
        waiting, answers[:] = list(answers), []
        for answer in waiting:
            answer.set_result(ACKNOWLEDGED)
    sink.close()
    assert broker.received == [payload(number, 5_000) for number in range(taken)]


def _later(
    broker: Online, answers: "list[Future[PublishResult]]", payload: bytes
) -> "Future[PublishResult]":
    broker.received.append(payload)
    answers.append(Future())
    return answers[-1]


@pytest.mark.parametrize("max_bytes", [ANY_SIZE, SMALL])
def test_dropping_the_oldest_works_on_a_full_disk(small_disk: Path, max_bytes: int) -> None:
    fill(small_disk, max_bytes=max_bytes, size=5_000)
    fill_up(small_disk)
    sink = make(small_disk, Offline(), max_bytes=max_bytes, when_full="drop_oldest")
    for number in range(5_000, 8_000):
        sink.put_payload(payload(number, 5_000))
    totals = sink.totals()
    sink.close(0)
    assert totals.taken == 3_000
    assert totals.dropped == totals.earlier + totals.taken - totals.spooled
    found = drain(small_disk, max_bytes=max_bytes)
    assert found == [payload(number, 5_000) for number in range(8_000 - totals.spooled, 8_000)]
    assert len(found) > 5


@pytest.mark.parametrize("size", [100, 5_000])
@pytest.mark.parametrize("max_bytes", [1, SMALL, 2 * MEBIBYTE])
def test_a_spool_never_uses_more_of_the_disk_than_its_limit_and_drains(
    tmp_path: Path, max_bytes: int, size: int
) -> None:
    limit = max(max_bytes, 256 * 1024)
    taken = fill(tmp_path, max_bytes=max_bytes, size=size)
    assert sum(map(len, taken)) > limit / 6
    assert used_bytes(tmp_path) <= limit
    assert drain(tmp_path, max_bytes=max_bytes) == taken
    assert used_bytes(tmp_path) <= limit


def test_the_limit_counts_the_log_and_the_reserve_while_the_spool_is_open(tmp_path: Path) -> None:
    sink = make(tmp_path, Offline(), max_bytes=SMALL, when_full="drop_oldest")
    most = 0
    for number in range(1_000):
        sink.put_payload(payload(number, 5_000))
        most = max(most, used_bytes(tmp_path))
    sink.close(0)
    assert most <= SMALL


_LIMITED = """
import resource, sys
from pathlib import Path
from tests.unit.device.delivery.test_full_disk import ANY_SIZE, drain, fill
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
taken = fill(Path(sys.argv[1]), max_bytes=ANY_SIZE, size=5_000)
assert len(taken) > 20, len(taken)
assert drain(Path(sys.argv[1]), max_bytes=ANY_SIZE) == taken
"""


def test_a_spool_drains_whose_files_may_not_grow_any_more(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("when_full", ["refuse", "drop_oldest"])
def test_a_reading_too_long_for_the_disk_costs_no_other_reading(
    tmp_path: Path, when_full: Literal["refuse", "drop_oldest"]
) -> None:
    spool = Spool(tmp_path / "spool.db", max_bytes=ANY_SIZE)
    spool.step_bytes = 16 * 1024  # as on a disk of some 300 KiB
    sink = make(tmp_path, Offline(), spool=spool, when_full=when_full)
    for number in range(20):
        sink.put_payload(payload(number, 1_000))
    for wait in (True, False):
        with pytest.raises(SpoolFull):
            sink.put_payload(payload(20, 20_000), wait=wait)
    sink.put_payload(payload(21, 1_000))
    totals = sink.totals()
    sink.close(0)
    assert (totals.taken, totals.spooled, totals.dropped) == (21, 21, 0)


_TINY_DISK = """
import sys
from pathlib import Path
from tests.unit.device.delivery.test_full_disk import ANY_SIZE, drain, fill, fill_up
disk, size = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(3):
    taken = fill(disk, max_bytes=ANY_SIZE, size=size)
    assert len(taken) > 5, len(taken)
    fill_up(disk)
    assert drain(disk, max_bytes=ANY_SIZE) == taken
"""


@pytest.mark.parametrize("size", [100, 5_000, 15_000])
def test_a_spool_on_a_disk_of_300_kib_drains_again_and_again(tmp_path: Path, size: int) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]  # root is not needed
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    probe = subprocess.run([*namespace, *mount], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this user may not mount a file system in a namespace")
    script = f'{shlex.join(mount)} && exec "$@"'
    done = subprocess.run(
        [
            *namespace,
            "sh",
            "-c",
            script,
            "sh",
            sys.executable,
            "-c",
            _TINY_DISK,
            tmp_path,
            str(size),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
