"""How fast, small and cheap publishing is: ``python -m tests.bench.publishing``.

Three tables, each with its contestants in the same run and on the same disk; rates are medians of
interleaved rounds:

- ``put`` with the check (``tests.bench.durable_put``), beside a durable queue from PyPI and the
  program that one writes first.
- Spool and packer without the check, beside the floor: the same work with nothing to lose or to
  keep apart, all in one transaction and one gzip.
- From a CSV file to the broker on this machine (``tests.bench.csv_to_broker``). It starts the local
  stack if it is not up.

Also measured: what a million readings cost, and memory with a million readings in the spool. It
takes about three minutes. Results go to ``.bench/publishing.json`` too.
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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import contracts
from device import compact_json
from device.delivery import prices
from device.delivery.packer import Packer
from device.readings.simulator import Simulator
from tests.bench import csv_to_broker, durable_put
from tests.bench.broker import TOPIC, Broker, open_sink

RESULTS = Path(".bench/publishing.json")
FLOOR = "floor: one transaction, one gzip"


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


def packer(readings: list[bytes], _folder: Path) -> float:
    filling = Packer(prices.METERING_UNIT_BYTES - len(TOPIC))
    started = time.perf_counter()
    for reading in readings:
        for _ in filling.add(reading):
            pass
    return time.perf_counter() - started


def to_disk(readings: list[bytes], folder: Path, *, pack: bool = True) -> float:
    """Spool and packer, the broker away."""
    taking = open_sink(folder, Broker(away=True), pack=pack)
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
    with open_sink(folder, Broker(away=False)) as taking:
        started = time.perf_counter()
        for reading in readings:
            taking.put_payload(reading, wait=False)
        assert taking.flush()
        return time.perf_counter() - started


def rates(count: int, rounds: int) -> dict[str, float]:
    """Readings per second of everything, medians of interleaved rounds."""
    readings = simulated(count)
    measured: dict[str, Callable[[list[bytes], Path], float]] = {
        FLOOR: floor,
        "packer alone": packer,
        "spool and packer": to_disk,
        "spool and packer, acknowledged": through,
        "spool without packing": to_disk_unpacked,
    }
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, measure in measured.items():
            with tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder:
                found[name].append(count / measure(readings, Path(folder)))
    return {name: statistics.median(values) for name, values in found.items()}


def per_million(count: int, *, pack: bool) -> dict[str, float]:
    """Messages, bytes, metering units and dollars of a million readings."""
    broker = Broker(away=False)
    with (
        tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder,
        open_sink(Path(folder), broker, pack=pack) as taking,
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
    taking = open_sink(Path(folder), Broker(away=True))
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
    parser.add_argument("--rows", type=int, default=200_000, help="of the CSV file")
    parser.add_argument("--slow-rows", type=int, default=5_000, help="for persist-queue")
    parser.add_argument("--spooled", type=int, default=1_000_000, help="when memory is measured")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    some = [json.loads(payload) for payload in simulated(options.slow_readings)]
    puts = durable_put.measure(some, options.rounds, RESULTS.parent)
    durable_put.show(puts)
    speeds = rates(options.readings, options.rounds)
    print("\nspool and packer, readings/s")
    for name, speed in speeds.items():
        print(f"  {name:34}{speed:10,.0f} ({speed / speeds[FLOOR]:.2f} x)")
    from_csv = csv_to_broker.measure(options.rows, options.slow_rows, options.rounds)
    csv_to_broker.show(from_csv)
    print()
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
        "put_readings_per_second": puts,
        "readings_per_second": speeds,
        "csv_readings_per_second": from_csv,
        "per_million_readings": volumes,
        "memory": used,
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
