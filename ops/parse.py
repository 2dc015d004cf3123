"""Parse raw batch files on disk, with the same code that the Lambda function runs.

FILE is gzip or plain NDJSON, as in the raw bucket. For each FILE this writes STEM.parquet to DIR
if there are rows, and STEM.rejected.ndjson.gz if readings were rejected. STEM is the file's name
without .ndjson.gz, .ndjson or .gz. An output of an earlier run that this run does not write is
removed. Rows and rejected lines name FILE, as given, as their raw_key. An output appears under its
name only when it is complete.

A FILE that cannot be read to its end is an error; the others are still parsed.
"""

import gzip
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

import contracts
from device import cli
from device.errors import ExitStatus
from telemetry_parser.parser import Parser, ParseResult
from telemetry_parser.raw import ObjectError

_SUFFIXES = (".ndjson.gz", ".ndjson", ".gz")
# A device can cause any number of different paths; only this many are counted apart.
_MOST_REASONS = 1000
_MOST_SHOWN = 20


class FileError(Exception):
    """One file could not be parsed; the message names it and says why."""


def parse_file(parser: Parser, path: Path, folder: Path) -> ParseResult:
    """Parse one file into ``folder``.

    Raises:
        FileError: It cannot be read to its end, or an output cannot be written. What an earlier
            run left is then still there.
    """
    parquet, rejected = _outputs(path, folder)
    try:
        # Beside the outputs, so that moving a file there is a rename.
        with path.open("rb") as raw, tempfile.TemporaryDirectory(dir=folder, prefix=".") as hidden:
            new_parquet, new_rejected = Path(hidden, parquet.name), Path(hidden, rejected.name)
            # A name that is not UTF-8 could be in neither output.
            raw_key = str(path).encode(errors="backslashreplace").decode()
            result = parser.parse(
                raw, raw_key=raw_key, parquet_path=new_parquet, rejected_path=new_rejected
            )
            if result.readings_parsed:
                new_parquet.replace(parquet)
            if result.readings_rejected:
                new_rejected.replace(rejected)
        if not result.readings_parsed:
            parquet.unlink(missing_ok=True)
        if not result.readings_rejected:
            rejected.unlink(missing_ok=True)
    except ObjectError as error:
        raise FileError(f"{path}: {error}") from error
    except OSError as error:
        raise FileError(f"{error.filename or path}: {error.strerror or error}") from error
    return result


def stem(path: Path) -> str:
    """The name of ``path`` without the suffixes of a batch."""
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix) and path.name != suffix:
            return path.name.removesuffix(suffix)
    return path.name


def _outputs(path: Path, folder: Path) -> tuple[Path, Path]:
    return folder / f"{stem(path)}.parquet", folder / f"{stem(path)}.rejected.ndjson.gz"


def _load(contract: str) -> contracts.Contract:
    if not contract.endswith(".json"):
        return contracts.load(contract)
    path = Path(contract)
    try:
        return contracts.parse(path.stem, path.read_bytes())
    except OSError as error:
        raise contracts.ContractError(f"{path}: {error.strerror}") from error


def _check_stems(files: Sequence[Path]) -> None:
    for name, count in Counter(map(stem, files)).items():
        if count > 1:
            same = ", ".join(str(path) for path in files if stem(path) == name)
            raise click.UsageError(
                f"expected files whose outputs differ in name, got {same}; "
                "run them apart, each with its own --out"
            )


class Reason(msgspec.Struct, frozen=True):
    """Why a reading was rejected: what a rejected line says of it."""

    reason: str
    path: str | None


_OTHERS = Reason("other reasons", None)


def count_reasons(rejected: Path, reasons: Counter[Reason]) -> None:
    """Add the reasons in a rejected file, if there is one, to ``reasons``."""
    if not rejected.exists():
        return
    decode = msgspec.json.Decoder(Reason).decode
    with gzip.open(rejected, "rb") as lines:
        for line in lines:
            reason = decode(line)
            if reason not in reasons and len(reasons) >= _MOST_REASONS:
                reason = _OTHERS
            reasons[reason] += 1


def _summary(
    results: Sequence[ParseResult], failed: int, reasons: Counter[Reason]
) -> dict[str, object]:
    return {
        "messages": sum(result.messages for result in results),
        "readings": sum(result.readings_parsed for result in results),
        "rejected": sum(result.readings_rejected for result in results),
        "failed_files": failed,
        "reasons": [
            {"reason": each.reason, "path": each.path, "readings": count}
            for each, count in reasons.most_common()
        ],
        "files": [asdict(result) for result in results],
    }


def _table(results: Sequence[ParseResult]) -> Table:
    table = Table(show_edge=False, show_footer=len(results) > 1)
    table.add_column("file", "all", overflow="fold")
    for title, values in (
        ("messages", [result.messages for result in results]),
        ("readings", [result.readings_parsed for result in results]),
        ("rejected", [result.readings_rejected for result in results]),
    ):
        table.add_column(title, f"{sum(values):,}", justify="right")
    for result in results:
        table.add_row(
            result.raw_key,
            f"{result.messages:,}",
            f"{result.readings_parsed:,}",
            f"{result.readings_rejected:,}",
        )
    return table


def _reasons_table(reasons: Counter[Reason]) -> Table:
    table = Table(show_edge=False)
    table.add_column("rejected", justify="right")
    table.add_column("path", overflow="fold")
    table.add_column("reason", overflow="fold")
    for each, count in reasons.most_common(_MOST_SHOWN):
        table.add_row(f"{count:,}", each.path or "", each.reason)
    if (others := len(reasons) - _MOST_SHOWN) > 0:
        table.add_row("", "", f"and {others:,} more reasons; --format json has all")
    return table


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=(
        "python -m ops.parse batch.ndjson.gz --contract telemetry --out parsed",
        "python -m ops.parse *.ndjson.gz --contract telemetry --out parsed --format json",
    ),
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--contract",
    "contract_name",
    metavar="NAME",
    required=True,
    help="A channel, such as telemetry, or the path of a contract's .json file.",
)
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the outputs; created if it is missing.",
)
@cli.format_option("table", "json")
def main(*, files: tuple[Path, ...], contract_name: str, folder: Path, output_format: str) -> None:
    """Parse ``files`` and print a summary."""
    _check_stems(files)
    try:
        parser = Parser(_load(contract_name))
    except contracts.ContractError as error:
        raise click.UsageError(str(error)) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{folder}: {error.strerror}") from error
    results: list[ParseResult] = []
    reasons: Counter[Reason] = Counter()
    errors = 0
    stderr = Console(stderr=True)
    for path in track(files, "parsing", console=stderr, disable=not stderr.is_terminal):
        try:
            results.append(parse_file(parser, path, folder))
            count_reasons(_outputs(path, folder)[1], reasons)
        except FileError as error:
            errors += 1
            click.echo(f"error: {error}", err=True)
    if output_format == "json":
        cli.echo_json(_summary(results, errors, reasons))
    elif results:
        console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
        console.print(_table(results))
        if reasons:
            console.print()
            console.print(_reasons_table(reasons))
    if errors:
        raise SystemExit(ExitStatus.FILE)


if __name__ == "__main__":
    main(prog_name="python -m ops.parse")
