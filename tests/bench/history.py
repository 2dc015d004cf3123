"""Measure history: ``python -m tests.bench.history``.

First, an hour: from its raw objects to its daily object, with one message per reading and packed;
CPU time on one core, peak memory and peak disk, in a process of its own. Then, a day: as the live
table has it, one file per minute, beside the rebuilt one; files, bytes, and three queries in
DuckDB, medians of CPU time. Writes ``.bench/history.json``.
"""

import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
import duckdb
from rich.console import Console
from rich.table import Table

import contracts
from telemetry_parser.parser import Parser
from telemetry_rebuild.hours import DAY_MS, Hour
from telemetry_rebuild.manifest import ListedObject
from telemetry_rebuild.rebuild import Rebuilder
from tests.bench import raw_objects
from tests.bench.parser import ROOT, peak_mib
from tests.bench.raw_objects import PACK

REPORT = ROOT / ".bench" / "history.json"
CHANNEL = "telemetry"
DAY = "2026-11-22"
START_MS = Hour.parse(f"{DAY}T00").start_ms
MEMORY_MEBIBYTES = 512

# Readings per second on one core, and MiB of memory that the process may take.
SPEED = {"single": 130_000, "packed": 330_000}
MOST_PEAK_MIB = 1024
# How many times faster a query of the rebuilt day is.
FASTER = {"count by thing": 7.0, "one thing's day": 10.0, "hourly average": 2.5}

QUERIES = {
    "count by thing": "SELECT thing_name, count(*) FROM day GROUP BY thing_name",
    "one thing's day": "SELECT * FROM day WHERE thing_name = 'thing-0500'",
    # Not date_trunc: DuckDB's timestamps have a time zone, and its calendar would take most of the
    # time of either table. Athena's have none.
    "hourly average": (
        "SELECT epoch_ms(timestamp) // 3600000, avg(temperature) FROM day GROUP BY ALL"
    ),
}


class FolderObjects:
    """A bucket is a folder."""

    def list(self, bucket: str, prefix: str) -> list[ListedObject]:
        return [
            ListedObject(path.relative_to(bucket).as_posix(), str(path.stat().st_size))
            for path in sorted(Path(bucket, prefix).glob("*"))
        ]

    @contextmanager
    def open(self, bucket: str, key: str) -> Iterator[BinaryIO]:
        with Path(bucket, key).open("rb") as file:
            yield file

    def get(self, bucket: str, key: str) -> bytes | None:
        path = Path(bucket, key)
        return path.read_bytes() if path.exists() else None

    def put(self, bucket: str, key: str, path: Path) -> None:
        Path(bucket, key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, Path(bucket, key))

    def remove(self, bucket: str, key: str) -> None:
        Path(bucket, key).unlink(missing_ok=True)


def make_raw(
    folder: Path, kind: str, count: int, *, objects: int, start_ms: int, span_ms: int
) -> None:
    """Write so many readings, spread over a time, as raw objects one after the other."""
    source = random.Random(1)  # noqa: S311  # the same every time
    each = count // objects
    for index in range(objects):
        first_ms = start_ms + index * span_ms // objects
        made = list(raw_objects.readings(each, source))
        for number, reading in enumerate(made):
            reading["timestamp"] = first_ms + number * span_ms // count
        if kind == "single":
            payloads = [_json(reading) for reading in made]
        else:
            packs = (made[start : start + PACK] for start in range(0, each, PACK))
            payloads = [gzip.compress(_json(pack)) for pack in packs]
        lines = [
            raw_objects.raw_line(payload, index * 7 + number)
            for number, payload in enumerate(payloads)
        ]
        hour = Hour.parse(time.strftime("%Y-%m-%dT%H", time.gmtime(first_ms // 1000)))
        path = folder / hour.raw_prefix(CHANNEL) / f"{index:04d}.ndjson.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 1))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def rebuilder(lake: Path, *, folder: Path | None = None) -> Rebuilder:
    return Rebuilder(
        objects=FolderObjects(),
        raw_bucket=str(lake),
        parsed_bucket=str(lake),
        retention_days=1095,
        memory_mebibytes=MEMORY_MEBIBYTES,
        threads=1,
        folder=folder,
    )


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Yield the largest size of a folder so far, in bytes, once it is left."""
    largest, done = [0], threading.Event()

    def size() -> int:
        found = 0
        for path in folder.rglob("*"):
            try:
                found += path.stat().st_blocks * 512
            except FileNotFoundError:
                continue
        return found

    def watch() -> None:
        while not done.wait(0.2):
            largest[0] = max(largest[0], size())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        done.set()
        thread.join()


def measure_hour(folder: Path) -> None:
    """In a process of its own: rebuild an hour, and print what it took as JSON."""
    contract, hour = contracts.load(CHANNEL), Hour.parse(f"{DAY}T00")
    with tempfile.TemporaryDirectory() as local, watched(Path(local)) as largest:
        started = time.process_time()
        manifest = rebuilder(folder, folder=Path(local)).rebuild(contract, hour).manifest
        seconds = time.process_time() - started
    (output,) = manifest.outputs
    figures = {
        "readings": manifest.rows,
        "readings_per_second": round(manifest.rows / seconds),
        "peak_mib": round(peak_mib()),
        "local_bytes_per_reading": round(largest[0] / manifest.rows, 1),
        "daily_bytes_per_reading": round(output.bytes / manifest.rows, 1),
    }
    print(json.dumps(figures))


def make_day(folder: Path, count: int) -> None:
    """A day of single readings as live files, one per minute, and as daily ones."""
    make_raw(folder, "single", count, objects=1440, start_ms=START_MS, span_ms=DAY_MS)
    contract = contracts.load(CHANNEL)
    parser = Parser(contract)
    (folder / "live").mkdir()
    for raw in sorted(folder.glob("raw/*/*/*/*.gz")):
        key = raw.relative_to(folder).as_posix()
        parquet = folder / "live" / f"{raw.parent.name}-{raw.stem}.parquet"
        with raw.open("rb") as file:
            parser.parse(file, raw_key=key, parquet_path=parquet, rejected_path=folder / "rejected")
    for hour in range(24):
        rebuilder(folder).rebuild(contract, Hour.parse(f"{DAY}T{hour:02d}"))


def query_ms(files: Path, sql: str, repetitions: int) -> float:
    """Median of the CPU time of a query over all files, planned and read anew each time."""
    times = []
    for _ in range(1 + repetitions):
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute(f"CREATE VIEW day AS SELECT * FROM read_parquet('{files}')")
            started = time.process_time()
            connection.execute(sql).fetchall()
            times.append(time.process_time() - started)
    return 1000 * statistics.median(times[1:])


def compare_day(folder: Path, repetitions: int) -> dict[str, Any]:
    tables = {"live": folder / "live" / "*.parquet", "daily": folder / "daily/*/*/*.parquet"}
    report: dict[str, Any] = {}
    for name, files in tables.items():
        found = list(folder.glob(str(files.relative_to(folder))))
        report[name] = {
            "files": len(found),
            "bytes": sum(path.stat().st_size for path in found),
            "query_ms": {
                query: query_ms(files, sql, repetitions) for query, sql in QUERIES.items()
            },
        }
    return report


def child(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.history", "--measure-hour", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def goals(report: dict[str, Any]) -> dict[str, bool]:
    """What was to be reached, and whether it was."""
    hours, day = report["hours"], report["day"]
    reached = {
        f"{kind}: {least:,} readings per second": hours[kind]["readings_per_second"] >= least
        for kind, least in SPEED.items()
    }
    reached |= {
        f"{kind}: at most {MOST_PEAK_MIB} MiB": found["peak_mib"] <= MOST_PEAK_MIB
        for kind, found in hours.items()
    }
    live, daily = (day[name]["query_ms"] for name in ("live", "daily"))
    return reached | {
        f"{query}: {times:g} times faster": live[query] >= times * daily[query]
        for query, times in FASTER.items()
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    console = Console(width=120, highlight=False)
    hours = Table("an hour", "readings", "per second", "peak MiB", "local disk", "daily object")
    for kind, found in report["hours"].items():
        hours.add_row(
            kind,
            *(f"{found[key]:,}" for key in ("readings", "readings_per_second", "peak_mib")),
            *(f"{found[f'{key}_bytes_per_reading']} B/reading" for key in ("local", "daily")),
        )
    days = Table("a day", "files", "MB", *(f"{query}, ms" for query in QUERIES))
    for name, found in report["day"].items():
        times = (f"{ms:.1f}" for ms in found["query_ms"].values())
        days.add_row(name, f"{found['files']:,}", f"{found['bytes'] / 1e6:.1f}", *times)
    console.print(hours, days)
    for goal, was_reached in report["goals"].items():
        console.print(f"{'reached    ' if was_reached else 'NOT reached'} {goal}")


@click.command(help=__doc__)
@click.option(
    "--singles", default=1_200_000, show_default=True, help="Of an hour, one per message."
)
@click.option("--packed", default=2_400_000, show_default=True, help="Of an hour, packed.")
@click.option("--day", default=1_440_000, show_default=True, help="Readings of a day.")
@click.option("--repetitions", default=5, show_default=True, help="Of each query.")
@click.option("--measure-hour", "measured", hidden=True, help="Folder of the raw objects.")
def main(*, singles: int, packed: int, day: int, repetitions: int, measured: str | None) -> None:
    """Measure everything, or an hour in a process of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if measured:
        measure_hour(Path(measured))
        return
    report: dict[str, Any] = {"hours": {}}
    for kind, count in (("single", singles), ("packed", packed)):
        with tempfile.TemporaryDirectory() as folder:
            make_raw(Path(folder), kind, count, objects=60, start_ms=START_MS, span_ms=DAY_MS // 24)
            report["hours"][kind] = child(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        make_day(Path(folder), day)
        report["day"] = compare_day(Path(folder), repetitions)
    report["goals"] = goals(report)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report | {"readings_of_the_day": day}, indent=2) + "\n")
    show(report)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.history")
