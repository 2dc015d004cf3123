"""Measure the parser against what else one could use: ``python -m tests.bench.parser``.

One core, each measurement in a process of its own and the second of two runs there, repetitions
of all contestants interleaved, medians; in CPU time, as the machine may have other work. Writes
``.bench/parser.json``. Needs pandas, polars and DuckDB beside the project's own requirements. The
contestants:

- ``ours``: raw object to Parquet and rejected lines.
- ``baseline``: what one would write without it, ``json.loads`` per line into a pandas DataFrame,
  to gzip CSV.
- ``polars``, ``duckdb``: to Parquet as well, but from readings that were taken out of their
  envelopes beforehand, one per line; so their figures flatter them.
- ``floor``: gunzip and tokenise only, and write ready-made columns as Parquet.
"""

import base64
import gzip
import hashlib
import importlib
import importlib.metadata
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from arro3.io import read_parquet
from isal import igzip
from rich.console import Console
from rich.table import Table

import contracts
from telemetry_parser import parquet
from telemetry_parser.parser import Parser

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / ".bench" / "parser.json"
RAW_KEY = "raw/telemetry/dt=2026-11-22/hour=09/telemetry-1-2026-11-22-09-00-01-0b1c.ndjson.gz"
PACK = 400
THINGS = 1000

# Contestant and batch that are compared, and by how much ours is to be faster.
GOALS = {"single": 12.0, "packed": 25.0, "bad": 10.0}
MOST_TIMES_FLOOR = 3.0


def readings(count: int, source: random.Random) -> Iterator[dict[str, Any]]:
    """Plausible readings of the telemetry contract."""
    for number in range(count):
        yield {
            "timestamp": 1_795_338_000_000 + 10 * number,
            "temperature": round(source.uniform(-20, 40), 2),
            "humidity": round(source.uniform(0, 100), 1),
            "battery": round(source.uniform(0, 100), 1),
            "status": source.choice(["ok", "ok", "ok", "low_battery"]),
            "sequence": number // THINGS,
            "pressure": round(source.uniform(950, 1050), 1),
            "firmware": "1.4.2",
        }


def raw_line(payload: bytes, number: int) -> bytes:
    """What the topic rule makes of one message."""
    thing = f"thing-{number % THINGS:04d}"
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "topic": f"dt/dev/{thing}/telemetry",
        "client_id": thing,
        "certificate_id": f"{number % THINGS:064x}",
        "received_at": 1_795_338_001_000 + 10 * number,
        "trace_id": hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest(),
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def make_batches(folder: Path, singles: int, packed: int) -> dict[str, int]:
    """Write ``{batch}.gz`` and, decoded, ``{batch}.ndjson``; return the readings in each."""
    source = random.Random(1)  # noqa: S311  # the same every time
    one_by_one = list(readings(singles, source))
    lines = [raw_line(_json(reading), number) for number, reading in enumerate(one_by_one)]
    _write(folder, "single", lines, [_json(reading) for reading in one_by_one])

    bad = list(lines)
    decoded = [_json(reading) for reading in one_by_one]
    for number in range(0, singles, 20):
        wrong = one_by_one[number] | {"temperature": "n/a"}
        decoded[number] = _json(wrong) if number % 40 else _json(wrong)[:-9]
        bad[number] = raw_line(decoded[number], number)
    _write(folder, "bad", bad, decoded)

    many = list(readings(packed, source))
    packs = [many[start : start + PACK] for start in range(0, packed, PACK)]
    _write(
        folder,
        "packed",
        [raw_line(gzip.compress(_json(pack)), number) for number, pack in enumerate(packs)],
        [_json(reading) for reading in many],
    )
    return {"single": singles, "bad": singles, "packed": packed}


def _write(folder: Path, name: str, lines: list[bytes], decoded: list[bytes]) -> None:
    (folder / f"{name}.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 6))
    (folder / f"{name}.ndjson").write_bytes(b"\n".join(decoded) + b"\n")


def ours(folder: Path, batch: str) -> Callable[[], int]:
    parser = Parser(contracts.load("telemetry"))

    def run() -> int:
        with (folder / f"{batch}.gz").open("rb") as raw:
            result = parser.parse(
                raw, raw_key=RAW_KEY, parquet_path=folder / "ours", rejected_path=folder / "bad.out"
            )
        return result.readings_parsed

    return run


def baseline(folder: Path, batch: str) -> Callable[[], int]:
    pandas = importlib.import_module("pandas")

    def run() -> int:
        rows = []
        with gzip.open(folder / f"{batch}.gz") as lines:
            for line in lines:
                envelope = json.loads(line)
                payload = base64.b64decode(envelope.pop("payload"))
                if payload.startswith(b"\x1f\x8b"):
                    payload = gzip.decompress(payload)
                try:
                    message = json.loads(payload)
                except ValueError:
                    message = {}
                readings_of = message if isinstance(message, list) else [message]
                rows += [reading | envelope for reading in readings_of]
        pandas.DataFrame(rows).to_csv(folder / "baseline.csv.gz", index=False, compression="gzip")
        return len(rows)

    return run


def polars(folder: Path, batch: str) -> Callable[[], int]:
    module = importlib.import_module("polars")

    def run() -> int:
        frame = module.read_ndjson(folder / f"{batch}.ndjson")
        frame.write_parquet(folder / "polars", compression="zstd", compression_level=1)
        return len(frame)

    return run


def duckdb(folder: Path, batch: str) -> Callable[[], int]:
    module = importlib.import_module("duckdb")

    def run() -> int:
        with module.connect(config={"threads": 1}) as connection:
            table = connection.read_json(
                str(folder / f"{batch}.ndjson"), format="newline_delimited"
            )
            table.write_parquet(str(folder / "duckdb"), compression="zstd")
            return len(table)

    return run


def floor(folder: Path, batch: str) -> Callable[[], int]:
    class Payload(msgspec.Struct):
        payload: bytes

    contract = contracts.load("telemetry")
    ready = list(_record_batches(folder, batch))
    decode_line = msgspec.json.Decoder(Payload).decode
    tokenise = msgspec.json.Decoder(msgspec.Raw).decode

    def run() -> int:
        with igzip.open(folder / f"{batch}.gz") as lines:  # type: ignore[no-untyped-call]  # isal does not annotate it
            for line in lines:
                payload = decode_line(line).payload
                if payload.startswith(b"\x1f\x8b"):
                    payload = igzip.decompress(payload)  # type: ignore[no-untyped-call]  # likewise
                try:
                    tokenise(payload)
                except msgspec.DecodeError:
                    continue
        parquet.write(folder / "floor", contract, iter(ready))
        return sum(batch.num_rows for batch in ready)

    return run


def _record_batches(folder: Path, batch: str) -> Iterator[Any]:
    ours(folder, batch)()
    yield from read_parquet(folder / "ours", batch_size=32 * 1024)


CONTESTANTS = {
    "ours": ours,
    "baseline": baseline,
    "polars": polars,
    "duckdb": duckdb,
    "floor": floor,
}


def measure(name: str, folder: Path, batch: str) -> None:
    """In a process of its own: print seconds, readings and peak memory as JSON."""
    run = CONTESTANTS[name](folder, batch)
    try:
        count = run()
        peak = peak_mib()
        started = time.process_time()
        run()
    except Exception as error:  # a contestant may refuse the batch
        print(json.dumps({"refused": type(error).__name__}))
        return
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "readings": count, "peak_mib": peak}))


def peak_mib() -> float:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with the parent's
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


def child(*arguments: str, **environment: str) -> dict[str, Any]:
    """Run this module, on one core, for one measurement."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.parser", *arguments],
        cwd=ROOT,
        env=os.environ | {"POLARS_MAX_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


_IMPORT = """
import time, boto3
client = boto3.client("s3", region_name="eu-west-1")
boto3.client = lambda *_: client
started = time.process_time()
import telemetry_parser.handler
print(time.process_time() - started)
"""


def import_ms(*, compiled: bool, repetitions: int) -> float:
    """Time until the handler is imported, boto3 and its client aside.

    Compiled: with the bytecode that a first import, which does not count, has left. Otherwise
    there is none, and none is kept, as where the file system cannot be written.
    """
    with tempfile.TemporaryDirectory() as bytecode:
        environment = os.environ | {
            "CHANNEL": "telemetry",
            "PARSED_BUCKET": "b",
            "POWERTOOLS_SERVICE_NAME": "bench",
            "POWERTOOLS_METRICS_NAMESPACE": "Bench",
            "PYTHONPYCACHEPREFIX": bytecode,
            "PYTHONDONTWRITEBYTECODE": "" if compiled else "1",
        }
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", _IMPORT],
                    cwd=ROOT,
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(1 + repetitions)
        ]
    return 1000 * statistics.median(times[1:])


def installed_mib(*names: str) -> float:
    """Unzipped size of distributions, without bytecode."""
    files = (
        file.locate()
        for name in names
        for file in importlib.metadata.files(name) or ()
        if file.suffix != ".pyc"
    )
    return sum(Path(file).stat().st_size for file in files if Path(file).is_file()) / 1024 / 1024


def parser_mib() -> float:
    """Unzipped size of what the function carries with it, as wheels of this machine."""
    locked = (ROOT / "lambda/parser/requirements.txt").read_text()
    names = re.findall(r"^([\w.-]+)==", locked, re.MULTILINE)
    sources = [
        *(ROOT / "lambda/parser/telemetry_parser").glob("*.py"),
        *(ROOT / "contracts").glob("*.*"),
    ]
    return installed_mib(*names) + sum(file.stat().st_size for file in sources) / 1024 / 1024


def readers(folder: Path) -> dict[str, bool]:
    """Who else reads, in our output for the packed batch, the rows that pyarrow reads."""
    ours(folder, "packed")()
    path = folder / "ours"
    polars = importlib.import_module("polars")
    with importlib.import_module("duckdb").connect() as connection:
        frames = {
            "pyarrow": polars.DataFrame(
                importlib.import_module("pyarrow.parquet").read_table(path)
            ),
            "polars": polars.read_parquet(path),
            "duckdb": polars.DataFrame(connection.read_parquet(str(path)).to_arrow_table()),
        }
    # DuckDB gives times in the machine's zone, and in microseconds.
    times = polars.selectors.datetime().dt.epoch("ms")
    expected = frames.pop("pyarrow").with_columns(times)
    return {name: frame.with_columns(times).equals(expected) for name, frame in frames.items()}


def compare(folder: Path, counts: dict[str, int], repetitions: int) -> dict[str, Any]:
    """Measure every contestant on every batch, in turns."""
    raw: dict[tuple[str, str], list[dict[str, Any]]] = {}
    turns = [(batch, name) for _ in range(repetitions) for batch in counts for name in CONTESTANTS]
    for number, (batch, name) in enumerate(turns, start=1):
        click.echo(f"{number}/{len(turns)} {batch} {name}", err=True)
        raw.setdefault((batch, name), []).append(child("--measure", name, batch, str(folder)))
    return {
        batch: {name: _medians(raw[batch, name], count) for name in CONTESTANTS}
        for batch, count in counts.items()
    }


def _medians(runs: list[dict[str, Any]], count: int) -> dict[str, Any]:
    refused = [run["refused"] for run in runs if "refused" in run]
    if refused:
        return {"refused": refused[0]}
    return {
        "readings_per_second": round(count / statistics.median(run["seconds"] for run in runs)),
        "peak_mib": round(statistics.median(run["peak_mib"] for run in runs)),
    }


def goals(report: dict[str, Any]) -> dict[str, bool]:
    """What was to be reached, and whether it was."""
    speed = {
        batch: {
            name: figures.get("readings_per_second", 0) for name, figures in contestants.items()
        }
        for batch, contestants in report["batches"].items()
    }
    reached = {
        f"{batch}: {goal:g} times the baseline": speed[batch]["ours"]
        >= goal * speed[batch]["baseline"]
        for batch, goal in GOALS.items()
    }
    reached |= {
        f"{batch}: within {MOST_TIMES_FLOOR:g} times the floor": MOST_TIMES_FLOOR
        * speed[batch]["ours"]
        >= speed[batch]["floor"]
        for batch in GOALS
    }
    memory = report["million_readings_peak_mib"]
    reached |= {f"{name} reads the same rows": same for name, same in report["same_rows"].items()}
    return reached | {
        "a million readings: a tenth of the baseline's memory": 10 * memory["ours"]
        <= memory["baseline"],
        "import, compiled: 120 ms": report["import_ms"]["compiled"] <= 120,
        "import, not compiled: 250 ms": report["import_ms"]["not_compiled"] <= 250,
        "installed: 60 MiB": report["installed_mib"]["ours"] <= 60,
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    table = Table("batch", title="readings per second, one core")
    for name in CONTESTANTS:
        table.add_column(name, justify="right")
    table.add_column("ours / baseline", justify="right")
    table.add_column("floor / ours", justify="right")
    for batch, contestants in report["batches"].items():
        speed = {name: f.get("readings_per_second") for name, f in contestants.items()}
        table.add_row(
            batch,
            *(f"{speed[name]:,}" if speed[name] else "refused" for name in CONTESTANTS),
            f"{speed['ours'] / speed['baseline']:.1f}",
            f"{speed['floor'] / speed['ours']:.1f}",
        )
    console = Console(width=120)
    console.print(table)
    for title, key in (
        ("peak memory for a million readings, MiB", "million_readings_peak_mib"),
        ("import, ms", "import_ms"),
        ("installed, MiB", "installed_mib"),
    ):
        console.print(f"{title}: " + ", ".join(f"{k} {v:,.0f}" for k, v in report[key].items()))
    for goal, reached in report["goals"].items():
        console.print(f"{'reached    ' if reached else 'NOT reached'} {goal}", highlight=False)


@click.command(help=__doc__)
@click.option("--singles", default=100_000, show_default=True, help="Readings, one per message.")
@click.option("--packed", default=200_000, show_default=True, help="Readings, packed.")
@click.option("--repetitions", default=3, show_default=True, help="Of each measurement.")
@click.option("--measure", "measured", nargs=3, hidden=True, help="Contestant, batch, folder.")
def main(
    *, singles: int, packed: int, repetitions: int, measured: tuple[str, str, str] | None
) -> None:
    """Measure everything, or one thing in a process of its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if measured:
        name, batch, folder = measured
        measure(name, Path(folder), batch)
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = make_batches(Path(folder), singles, packed)
        batches = compare(Path(folder), counts, repetitions)
        same = readers(Path(folder))
        make_batches(Path(folder), 20, 1_000_000)
        memory = {
            name: child("--measure", name, "packed", folder)["peak_mib"]
            for name in ("ours", "baseline")
        }
    report: dict[str, Any] = {
        "batches": batches,
        "same_rows": same,
        "million_readings_peak_mib": memory,
        "import_ms": {
            "compiled": import_ms(compiled=True, repetitions=repetitions),
            "not_compiled": import_ms(compiled=False, repetitions=repetitions),
        },
        "installed_mib": {
            "ours": parser_mib(),
            "pandas": installed_mib("pandas", "numpy", "python-dateutil", "six"),
            "polars": installed_mib("polars", "polars-runtime-32"),
            "duckdb": installed_mib("duckdb"),
            "pyarrow": installed_mib("pyarrow"),
        },
    }
    report["goals"] = goals(report)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.parser")
