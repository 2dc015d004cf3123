"""One reading after the other, each checked and on disk before the next: ours, and what else does.

All take the same readings, dicts, through the same encoder and check, and keep them with the same
durability: SQLite in WAL mode with ``synchronous=FULL``, one commit at least before a put returns.
"""

import importlib
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import contracts
from device.delivery.sink import Sink
from device.readings.check import ReadingCheck
from device.readings.encoding import encode
from tests.bench.broker import Broker, open_sink

THREADS = 8
_FULL = 2  # of SQLite's PRAGMA synchronous

Reading = dict[str, Any]
Contestant = Callable[[Path], Any]  # a context manager of the function that puts


def _checked(put: Callable[[bytes], object]) -> Callable[[Reading], None]:
    check = ReadingCheck(contracts.load("telemetry"))

    def checked(reading: Reading) -> None:
        payload = encode(reading)
        check.check(payload)
        put(payload)

    return checked


@contextmanager
def ours(folder: Path) -> Iterator[Callable[[Reading], None]]:
    """The sink, which also packs; the broker is away."""
    sink: Sink = open_sink(
        folder, Broker(away=True), check=ReadingCheck(contracts.load("telemetry"))
    )
    yield sink.put
    sink.close(0)


@contextmanager
def persist_queue(folder: Path) -> Iterator[Callable[[Reading], None]]:
    """The most used durable queue on PyPI."""
    persistqueue = importlib.import_module("persistqueue")  # for make bench only
    queue = persistqueue.SQLiteQueue(str(folder), multithreading=True, auto_commit=True)
    (journal,) = queue._putter.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = queue._putter.execute("PRAGMA synchronous").fetchone()
    assert (journal, synchronous) == ("wal", _FULL)
    yield _checked(queue.put)
    queue.close()


@contextmanager
def baseline(folder: Path) -> Iterator[Callable[[Reading], None]]:
    """What one writes first: an INSERT for each, under a lock."""
    database = sqlite3.connect(
        folder / "baseline.db", isolation_level=None, check_same_thread=False
    )
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE readings (payload BLOB)")
    lock = threading.Lock()

    def put(payload: bytes) -> None:
        with lock:
            database.execute("INSERT INTO readings VALUES (?)", (payload,))

    yield _checked(put)
    database.close()


CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "persist-queue": persist_queue,
    "baseline": baseline,
}


def _seconds(contestant: Contestant, readings: list[Reading], threads: int, disk: Path) -> float:
    with tempfile.TemporaryDirectory(dir=disk) as folder, contestant(Path(folder)) as put:

        def put_all(own: list[Reading]) -> None:
            for reading in own:
                put(reading)

        workers = [
            threading.Thread(target=put_all, args=(readings[number::threads],))
            for number in range(threads)
        ]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - started


def measure(readings: list[Reading], rounds: int, disk: Path) -> dict[str, dict[str, float]]:
    """Readings per second by contestant and number of threads, medians of interleaved rounds."""
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for threads in (1, THREADS):
            for name, contestant in CONTESTANTS.items():
                seconds = _seconds(contestant, readings, threads, disk)
                found.setdefault((name, threads), []).append(len(readings) / seconds)
    return {
        name: {
            f"{threads} thread{'s' if threads > 1 else ''}": statistics.median(found[name, threads])
            for threads in (1, THREADS)
        }
        for name in CONTESTANTS
    }


def show(speeds: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    print(f"\nput with the check, readings/s{'':14}1 thread{'':11}{THREADS} threads")
    base = speeds["persist-queue"]
    for name, by_threads in speeds.items():
        cells = "".join(
            f"{speed:14,.0f} ({speed / base[threads]:4.2f} x)"
            for threads, speed in by_threads.items()
        )
        print(f"  {name:28}{cells}")
