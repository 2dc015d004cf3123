"""From a CSV file to the broker on this machine: read, check, keep on disk, pack, publish, confirm.

Every contestant does all of that, with the same durability, and is done when the broker has
acknowledged every reading. The time includes the start of the process and of the connection.
"""

import csv
import gzip
import importlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import contracts
from device import aws
from device.delivery import mqtt
from device.identity import Identity, load
from device.readings.check import ReadingCheck
from device.readings.encoding import encode
from device.readings.simulator import Simulator
from device.registry.registration import provision
from local import stack

_THING = "bench-csv"
_PACK = 300


def write_csv(path: Path, count: int) -> None:
    """Readings of the telemetry contract, every 10 s."""
    contract = contracts.load("telemetry")
    clock = itertools.count(1_790_000_000, 10).__next__
    simulator = Simulator(contract, seed=1, clock=clock)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in contract.fields])
        writer.writeheader()
        writer.writerows(simulator.reading() for _ in range(count))


def ours(path: Path, identity: Identity) -> None:
    """``device.publish --file``."""
    command = [sys.executable, "-m", "device.publish", "--identity", str(identity.folder)]
    run = subprocess.run(
        [*command, "--file", str(path), "--format", "json"], capture_output=True, check=True
    )
    counts = json.loads(run.stdout)
    assert counts["acknowledged"] == counts["readings"]


def persist_queue(path: Path, identity: Identity) -> None:
    """A program around persist-queue's queue with acknowledgements: one thread puts, one sends."""
    subprocess.run(
        [sys.executable, "-m", "tests.bench.csv_to_broker", str(path), str(identity.folder)],
        check=True,
    )


CONTESTANTS: dict[str, Callable[[Path, Identity], None]] = {
    "ours": ours,
    "persist-queue": persist_queue,
}


def _with_persist_queue(path: Path, identity: Identity) -> None:
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        mqtt.Connection(identity) as connection,
    ):
        persistqueue = importlib.import_module("persistqueue")  # for make bench only
        queue = persistqueue.SQLiteAckQueue(folder, multithreading=True, auto_commit=True)
        complete = threading.Event()
        sender = threading.Thread(
            target=_send_all,
            args=(queue, connection, identity.device.basic_ingest_topic("telemetry"), complete),
        )
        sender.start()
        contract = contracts.load("telemetry")
        check = ReadingCheck(contract)
        texts = {field.name for field in contract.fields if field.schema.kind == "string"}
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                reading = {
                    name: cell if name in texts else json.loads(cell)
                    for name, cell in row.items()
                    if cell
                }
                payload = encode(reading)
                check.check(payload)
                queue.put(payload)
        complete.set()
        sender.join()
        queue.close()


def _send_all(
    queue: Any,
    connection: mqtt.Connection,
    topic: str,
    complete: threading.Event,
) -> None:
    persistqueue = importlib.import_module("persistqueue")
    in_flight: list[tuple[list[int], Future[mqtt.PublishResult]]] = []
    while True:
        is_last = complete.is_set()
        taken = list[dict[str, Any]]()
        while len(taken) < _PACK:
            try:
                taken.append(queue.get(block=not is_last, timeout=0.1, raw=True))
            except persistqueue.Empty:
                break
        if taken:
            array = b"[" + b",".join(entry["data"] for entry in taken) + b"]"
            answer = connection.publish(topic, gzip.compress(array))
            in_flight.append(([entry["pqid"] for entry in taken], answer))
        while in_flight and (len(in_flight) == mqtt.MAX_UNACKNOWLEDGED or is_last or not taken):
            ids, answer = in_flight.pop(0)
            assert answer.result().outcome is mqtt.PublishOutcome.ACKNOWLEDGED
            for number in ids:
                queue.ack(id=number)
        if is_last and not taken:
            return


def measure(count: int, slow_count: int, rounds: int) -> dict[str, float]:
    """Readings per second by contestant, medians of interleaved rounds, on the local stack."""
    sizes = {"ours": count, "persist-queue": slow_count}
    found: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with (
        tempfile.TemporaryDirectory(dir=".bench") as folder,
        stack.in_use(lambda _: nullcontext()),
    ):
        identity = provision(aws.session_for("local"), _THING, lambda _: None)
        for name, size in sizes.items():
            write_csv(Path(folder, f"{name}.csv"), size)
        for _ in range(rounds):
            for name, publish in CONTESTANTS.items():
                started = time.perf_counter()
                publish(Path(folder, f"{name}.csv").resolve(), identity)
                found[name].append(sizes[name] / (time.perf_counter() - started))
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def show(speeds: dict[str, float]) -> None:
    """Print the table."""
    print("\nfrom a CSV file to the broker on this machine, readings/s")
    for name, speed in speeds.items():
        print(f"  {name:28}{speed:14,.0f} ({speed / speeds['persist-queue']:.1f} x)")


if __name__ == "__main__":
    _with_persist_queue(Path(sys.argv[1]), load(Path(sys.argv[2])))
