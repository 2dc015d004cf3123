"""How fast, small and cheap the spool and the packer are: ``python -m tests.bench.publishing``.

Two programs of a dozen lines stand beside them, in the same run and on the same disk: the baseline,
which is what one writes first (a commit and a message for each reading), and the floor, which is
the same work with nothing to lose or to keep apart (all in one transaction and one gzip).
Rates are medians of interleaved rounds. By default each round takes 100,000 readings, the baseline
2,000, and memory is measured with a million in the spool: less than a minute in all. Results go to
``.bench/publishing.json`` too.
"""

import argparse
import gzip
import itertools
import json
import multiprocessing
import os
import platform
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil

import contracts
from device import compact_json
from device.delivery import prices
from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.delivery.packer import Packer
from device.delivery.sink import Sink
from device.delivery.spool import Spool
from device.errors import ConnectionFailed, Unreachable
from device.readings.simulator import Simulator

RESULTS = Path(".bench/publishing.json")
TOPIC = "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"
SPOOL_BYTES = 1 << 32
THREADS = 8


class Broker:
    """Acknowledges at once, or is away."""

    failure: ConnectionFailed | None = None

    def __init__(self, *, away: bool) -> None:
        self._away = away
        self.payload_bytes = 0
        self.messages = 0
        self.units = 0

    def connect(self) -> None:
        if self._away:
            raise Unreachable("away")

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        self.payload_bytes += len(payload)
        self.messages += 1
        self.units += prices.units(topic, len(payload))
        answer: Future[PublishResult] = Future()
        answer.set_result(ACKNOWLEDGED)
        return answer

    def close(self) -> None:
        pass


def sink(folder: Path, broker: Broker, *, pack: bool = True) -> Sink:
    return Sink(
        Spool(folder / "spool.db", max_bytes=SPOOL_BYTES),
        TOPIC,
        lambda: broker,
        check=None,
        pack=pack,
        max_linger_seconds=10.0,
        when_full="refuse",
    )


def simulated(count: int) -> list[bytes]:
    """Readings of the telemetry contract, every 10 s."""
    clock = itertools.count(1_790_000_000, 10).__next__
    simulator = Simulator(contracts.load("telemetry"), seed=1, clock=clock)
    return [compact_json.encode(simulator.reading()) for _ in range(count)]


# Each takes readings and a folder, and returns the seconds for them.


def floor(readings: list[bytes], folder: Path) -> float:
    database = sqlite3.connect(folder / "floor.db")
    started = time.perf_counter()
    database.execute("CREATE TABLE readings (content BLOB)")
    database.executemany("INSERT INTO readings VALUES (?)", ((reading,) for reading in readings))
    database.commit()
    gzip.compress(b",".join(readings), 9)
    seconds = time.perf_counter() - started
    database.close()
    return seconds


def baseline(readings: list[bytes], folder: Path) -> float:
    database = sqlite3.connect(folder / "baseline.db", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE messages (payload BLOB)")
    started = time.perf_counter()
    for reading in readings:
        database.execute("INSERT INTO messages VALUES (?)", (reading,))
    seconds = time.perf_counter() - started
    database.close()
    return seconds


def packer(readings: list[bytes], _folder: Path) -> float:
    filling = Packer(prices.METERING_UNIT_BYTES - len(TOPIC))
    started = time.perf_counter()
    for reading in readings:
        for _ in filling.add(reading):
            pass
    return time.perf_counter() - started


def to_disk(readings: list[bytes], folder: Path, *, pack: bool = True) -> float:
    """Spool and packer, the broker away."""
    taking = sink(folder, Broker(away=True), pack=pack)
    started = time.perf_counter()
    for reading in readings:
        taking.put_payload(reading, wait=False)
    taking.flush(0)
    seconds = time.perf_counter() - started
    taking.close(0)
    return seconds


def to_disk_unpacked(readings: list[bytes], folder: Path) -> float:
    return to_disk(readings, folder, pack=False)


def through(readings: list[bytes], folder: Path) -> float:
    """Spool, packer, and a broker that answers at once: until the spool is empty again."""
    with sink(folder, Broker(away=False)) as taking:
        started = time.perf_counter()
        for reading in readings:
            taking.put_payload(reading, wait=False)
        assert taking.flush()
        return time.perf_counter() - started


def put_one_by_one(readings: list[bytes], folder: Path) -> float:
    """Each on disk before the next."""
    taking = sink(folder, Broker(away=True))
    started = time.perf_counter()
    for reading in readings:
        taking.put_payload(reading)
    seconds = time.perf_counter() - started
    taking.close(0)
    return seconds


def put_by_threads(readings: list[bytes], folder: Path) -> float:
    """The same, by several threads: they share their commits."""
    taking = sink(folder, Broker(away=True))

    def put(own: list[bytes]) -> None:
        for reading in own:
            taking.put_payload(reading)

    threads = [
        threading.Thread(target=put, args=(readings[number::THREADS],)) for number in range(THREADS)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    taking.close(0)
    return seconds


def rates(count: int, slow_count: int, rounds: int) -> dict[str, float]:
    """Readings per second of everything, medians of interleaved rounds."""
    readings = simulated(count)
    measured: dict[str, tuple[Callable[[list[bytes], Path], float], list[bytes]]] = {
        "floor: one transaction, one gzip": (floor, readings),
        "packer alone": (packer, readings),
        "spool and packer": (to_disk, readings),
        "spool and packer, acknowledged": (through, readings),
        "spool without packing": (to_disk_unpacked, readings),
        "put, 1 thread": (put_one_by_one, readings[:slow_count]),
        f"put, {THREADS} threads": (put_by_threads, readings[:slow_count]),
        "baseline: a commit and a message each": (baseline, readings[:slow_count]),
    }
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, (measure, some) in measured.items():
            with tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder:
                found[name].append(len(some) / measure(some, Path(folder)))
    return {name: statistics.median(values) for name, values in found.items()}


def per_million(count: int, *, pack: bool) -> dict[str, float]:
    """Messages, bytes, metering units and dollars of a million readings."""
    broker = Broker(away=False)
    with (
        tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder,
        sink(Path(folder), broker, pack=pack) as taking,
    ):
        for reading in simulated(count):
            taking.put_payload(reading, wait=False)
        taking.flush()
        usd = taking.totals().cost_usd
    factor = 1_000_000 / count
    return {
        "messages": broker.messages * factor,
        "payload_bytes": broker.payload_bytes * factor,
        "units": broker.units * factor,
        "usd": usd * factor,
    }


def _spool_many(count: int, folder: str, answers: Any) -> None:
    some = simulated(10_000)
    process = psutil.Process()
    taking = sink(Path(folder), Broker(away=True))
    before = process.memory_info().rss
    for number in range(count):
        taking.put_payload(some[number % len(some)], wait=False)
    taking.flush(0)
    after = process.memory_info().rss
    taking.close(0)
    answers.put((before, after, sum(f.stat().st_size for f in Path(folder).iterdir())))


def memory(count: int) -> dict[str, float]:
    """Of a process of its own with ``count`` readings in its spool."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    with tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder:
        process = context.Process(target=_spool_many, args=(count, folder, answers))
        process.start()
        before, after, size = answers.get()
        process.join()
    return {
        "spooled": count,
        "rss_before_mb": before / 1e6,
        "rss_mb": after / 1e6,
        "spool_mb": size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=100_000, help="of a round")
    parser.add_argument("--slow-readings", type=int, default=2_000, help="where each is committed")
    parser.add_argument("--spooled", type=int, default=1_000_000, help="when memory is measured")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    speeds = rates(options.readings, options.slow_readings, options.rounds)
    base = speeds["baseline: a commit and a message each"]
    lowest = speeds["floor: one transaction, one gzip"]
    print(f"{'readings/s':>12}  {'x baseline':>10}  {'x floor':>8}")
    for name, speed in speeds.items():
        print(f"{speed:12,.0f}  {speed / base:10.2f}  {speed / lowest:8.2f}  {name}")
    volumes = {
        "packed": per_million(options.readings, pack=True),
        "one message per reading": per_million(options.readings // 10, pack=False),
    }
    for name, volume in volumes.items():
        print(
            f"a million readings, {name}: {volume['messages']:,.0f} messages, "
            f"{volume['payload_bytes'] / 1e6:,.1f} MB, {volume['units']:,.0f} metering units, "
            f"${volume['usd']:.4f}"
        )
    used = memory(options.spooled)
    print(
        f"{used['spooled']:,} readings spooled: {used['rss_mb']:.0f} MB of memory "
        f"({used['rss_before_mb']:.0f} MB before), {used['spool_mb']:.0f} MB on disk"
    )
    results = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "options": vars(options),
        "readings_per_second": speeds,
        "per_million_readings": volumes,
        "memory": used,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
