"""Measure the parser beside what else does the same job: ``python -m tests.bench.parser``.

The job: from a raw object, gzip with envelopes, to Parquet with the contract's fields and the row
columns. ``parser_contestants`` has the contestants. One core; each measurement in a process of its
own, the second of two runs there; repetitions of all contestants interleaved; medians of CPU time,
as the machine may have other work. Writes ``.bench/parser.json``.
"""

import importlib
import importlib.metadata
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from device.delivery import prices
from tests.bench import raw_objects
from tests.bench.parser_contestants import CONTESTANTS, Impossible, ours

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / ".bench" / "parser.json"

RIVALS = ("pandas", "polars", "duckdb")
MOST_TIMES_FLOOR = 2.0
LEAST_OF_CLEAN = 0.85
# Times the best rival's speed, and bytes of Parquet per reading.
GOALS = {"single": (1.0, 10), "packed": (2.2, 8)}
# Lambda gives a function one core per 1,769 MB of memory, and a share of it for less, so that the
# product of memory and time is the same: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
GB_PER_CORE = 1769 / 1024


def measure(name: str, folder: Path, batch: str) -> None:
    """In a process of its own: print seconds, readings and peak memory as JSON."""
    try:
        run = CONTESTANTS[name](folder, batch)
        count = run()
        peak = peak_mib()
        started = time.process_time()
        run()
    except Impossible as error:
        print(json.dumps({"refused": str(error)}))
        return
    except Exception as error:  # a contestant may refuse the batch
        print(json.dumps({"refused": f"fails: {type(error).__name__}"}))
        return
    seconds = time.process_time() - started
    size = (folder / name).stat().st_size / count
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "bytes_per_row": size}))


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
        "bytes_per_row": round(runs[0]["bytes_per_row"], 2),
    }


def lambda_usd(readings_per_second: float) -> float:
    """What Lambda charges for parsing a million readings, if its core is as fast as this one."""
    return 1e6 / readings_per_second * GB_PER_CORE * prices.LAMBDA_GB_SECOND_USD


def way_usd(folder: Path, counts: dict[str, int]) -> dict[str, float]:
    """What a million readings cost up to the raw bucket, by Basic Ingest."""
    topic = "$aws/rules/dev_telemetry/dt/dev/thing-0000/telemetry"
    return {
        batch: 1e6
        / counts[batch]
        * sum(prices.message_usd(topic, size) for size in raw_objects.payload_sizes(folder, batch))
        for batch in GOALS
    }


def goals(report: dict[str, Any]) -> dict[str, bool]:
    """What was to be reached, and whether it was."""
    batches = report["batches"]
    speed = {
        batch: {name: found.get("readings_per_second", 0) for name, found in contestants.items()}
        for batch, contestants in batches.items()
    }
    reached = {}
    for batch, (times, most_bytes) in GOALS.items():
        best = max(speed[batch][name] for name in RIVALS)
        reached[f"{batch}: {times:g} times the best other"] = speed[batch]["ours"] >= times * best
        size = batches[batch]["ours"]["bytes_per_row"]
        reached[f"{batch}: at most {most_bytes} bytes of Parquet per reading"] = size <= most_bytes
    share = speed["bad"]["ours"] / speed["single"]["ours"]
    reached[f"bad: {LEAST_OF_CLEAN:g} of the speed without bad readings"] = share >= LEAST_OF_CLEAN
    reached |= {
        f"{batch}: within {MOST_TIMES_FLOOR:g} times the floor": MOST_TIMES_FLOOR * found["ours"]
        >= found["floor"]
        for batch, found in speed.items()
    }
    memory = report["million_readings_peak_mib"]
    reached |= {f"{name} reads the same rows": same for name, same in report["same_rows"].items()}
    return reached | {
        "a million readings: a tenth of pandas' memory": 10 * memory["ours"] <= memory["pandas"],
        "import, compiled: 120 ms": report["import_ms"]["compiled"] <= 120,
        "import, not compiled: 250 ms": report["import_ms"]["not_compiled"] <= 250,
        "installed: 60 MiB": report["installed_mib"]["ours"] <= 60,
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as tables."""
    speeds = Table("batch", *CONTESTANTS, title="readings per second, one core")
    sizes = Table("batch", *CONTESTANTS, title="bytes of Parquet per reading")
    for batch, contestants in report["batches"].items():
        found = contestants.values()
        speeds.add_row(batch, *(f.get("refused") or f"{f['readings_per_second']:,}" for f in found))
        sizes.add_row(
            batch, *(f"{f['bytes_per_row']:.1f}" if f.get("bytes_per_row") else "" for f in found)
        )
    console = Console(width=120)
    console.print(
        speeds, sizes, "Only ours checks each reading and keeps the bad ones.", highlight=False
    )
    for title, key in (
        ("peak memory for a million readings, MiB", "million_readings_peak_mib"),
        ("import, ms", "import_ms"),
        ("installed, MiB", "installed_mib"),
    ):
        console.print(f"{title}: " + ", ".join(f"{k} {v:,.0f}" for k, v in report[key].items()))
    for batch, usd in report["million_readings_usd"].items():
        console.print(
            f"a million {batch} readings: ${usd['parser']:.5f} to parse, "
            f"${usd['way']:.5f} on the way to the raw bucket",
            highlight=False,
        )
    for goal, reached in report["goals"].items():
        console.print(f"{'reached    ' if reached else 'NOT reached'} {goal}", highlight=False)


@click.command(help=__doc__)
@click.option("--singles", default=200_000, show_default=True, help="Readings, one per message.")
@click.option("--packed", default=800_000, show_default=True, help="Readings, packed.")
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
        counts = raw_objects.make(Path(folder), singles, packed)
        batches = compare(Path(folder), counts, repetitions)
        way = way_usd(Path(folder), counts)
        same = readers(Path(folder))
        raw_objects.make(Path(folder), 20, 1_000_000)
        memory = {
            name: child("--measure", name, "packed", folder)["peak_mib"]
            for name in ("ours", "pandas")
        }
    report: dict[str, Any] = {
        "batches": batches,
        "same_rows": same,
        "million_readings_usd": {
            batch: {
                "parser": lambda_usd(batches[batch]["ours"]["readings_per_second"]),
                "way": way[batch],
            }
            for batch in GOALS
        },
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
