"""The command ``infer``: a proposal for a contract, from a sample of readings."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import click

import contracts
from contracts import Contract, ContractError
from contracts.reader import FIELD_NAME
from contracts.tables import RESERVED_COLUMNS, RESERVED_WORDS
from device import cli
from device.errors import ExitStatus
from device.readings import files, sources, times
from device.readings.check import ReadingCheck, ReadingError, parse_json
from device.readings.csv_rows import DELIMITERS, CsvOptions, CsvRows
from device.readings.sources import Payload, Source, Unusable
from ops.contract.inference import Cells, FieldValues, Unclear, propose
from ops.tables import printable

_MOST_NOTES = 20
_LONGEST_HEADER = 1 << 20
_RESERVED = RESERVED_COLUMNS | RESERVED_WORDS


@dataclass(frozen=True)
class SampleFile:
    """A CSV or NDJSON file of readings.

    Attributes:
        path: Its suffix says which of the two it is.
        options: How to read CSV.
    """

    path: Path
    options: CsvOptions

    @property
    def is_csv(self) -> bool:
        """Whether it is CSV; otherwise it is NDJSON."""
        return files.file_type(self.path.name) in {"csv", "tsv"}

    def payloads(self, contract: Contract) -> Iterator[Payload | Unusable]:
        """Yield what publishing the file under ``contract`` would send.

        Raises:
            HeaderError: The CSV has no usable header.
            UnsupportedFileError: The file's compression is not known.
        """
        with self.path.open("rb") as file:
            stream = files.opened(file, self.path.name, verbatim=False)
            source: Source = (
                CsvRows(stream, contract, self.options)
                if self.is_csv
                else sources.from_ndjson(stream, verbatim=False)
            )
            yield from source

    def header(self) -> tuple[str | None, list[str]]:
        """The delimiter of CSV, None if the file names it itself, and the names of the columns."""
        with self.path.open("rb") as file:
            stream = files.opened(file, self.path.name, verbatim=False)
            text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
            lines = iter(lambda: text.readline(_LONGEST_HEADER), "")
            first = next((line for line in lines if line.strip()), "")
            if named := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE):
                return None, _names(next(lines, ""), named[1])
            if self.options.delimiter is not None:
                return self.options.delimiter, _names(first, self.options.delimiter)
            likely = max(DELIMITERS, key=lambda delimiter: len(_names(first, delimiter)))
            return likely, _names(first, likely)


def _names(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _of_texts(names: list[str]) -> Contract:
    """A contract in which every column is text, so that the cells arrive as they are."""
    properties: dict[str, Any] = {}
    for name in names:
        steps = name.split(".")
        if not all(map(FIELD_NAME.fullmatch, steps)) or steps[0].lower() in _RESERVED:
            continue
        if any(".".join(steps[:length]) in names for length in range(1, len(steps))):
            continue
        inner = properties
        for step in steps[:-1]:
            inner = inner.setdefault(step, {"type": "object", "properties": {}})["properties"]
        inner[steps[-1]] = {"type": "string"}
    document = {"type": "object", "properties": properties or {"unnamed": {"type": "string"}}}
    try:
        return contracts.parse("sample", json.dumps(document))
    except ContractError:
        # Two names differ only in case: nothing is nested.
        flat = {"type": "object", "properties": {"unnamed": {"type": "string"}}}
        return contracts.parse("sample", json.dumps(flat))


@dataclass
class _Notes:
    """What a person should know; at most so many lines are printed.

    Attributes:
        count: How many there were.
        lines: Numbers of the lines of the file that could not be used.
    """

    count: int = 0
    lines: set[int] = field(default_factory=set)

    def unusable(self, number: int, reason: str) -> None:
        """Note a line that could not be used, once."""
        if number not in self.lines:
            self.lines.add(number)
            self.add(f"line {number}: {reason}")

    def add(self, line: str) -> None:
        """Print a note, unless there were too many already."""
        self.count += 1
        if self.count <= _MOST_NOTES:
            cli.say(printable(line))

    def end(self) -> None:
        """Say how many notes were not printed."""
        if self.count > _MOST_NOTES:
            cli.say(f"and {cli.counted(self.count - _MOST_NOTES, 'more note')}")


def _take_in(file: SampleFile, cells: Cells, notes: _Notes) -> FieldValues:
    """Read the sample."""
    sample = FieldValues()
    contract = _of_texts(file.header()[1] if file.is_csv else [])
    with cli.Progress(None) as progress:
        for item in file.payloads(contract):
            try:
                readings = _readings(item)
            except ReadingError as error:
                notes.unusable(item.number, str(error))
                continue
            for reading in readings:
                sample.add(reading, cells if file.is_csv else None)
            progress.show(item.number, f"{cli.counted(item.number, 'line')} read")
    return sample


def _readings(item: Payload | Unusable) -> list[dict[str, Any]]:
    if isinstance(item, Unusable):
        raise ReadingError(item.reason)
    value = parse_json(item.payload)
    readings = value if isinstance(value, list) and value else [value]
    if not all(isinstance(reading, dict) for reading in readings):
        raise ReadingError("expected a JSON object, or an array of them")
    return readings


def _check_each(file: SampleFile, contract: Contract, notes: _Notes) -> None:
    """Check that ``contract`` accepts each payload."""
    check = ReadingCheck(contract)
    for item in file.payloads(contract):
        try:
            if isinstance(item, Unusable):
                raise ReadingError(item.reason)  # noqa: TRY301  # noted like the others
            check.check(item.payload)
        except ReadingError as error:
            notes.unusable(item.number, f"the proposed contract does not accept it: {error}")


def _channel_of(path: Path) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", path.name.partition(".")[0].lower()).lstrip("_0123456789")
    return name[:32] or "sample"


def _check_channel(channel: str) -> None:
    try:
        contracts.parse(channel, '{"type": "object", "properties": {"a": {"type": "string"}}}')
    except ContractError as error:
        raise click.BadParameter(str(error), param_hint="--channel") from None


@click.command(
    cls=cli.Command,
    examples=[
        "python -m ops.contract infer readings.csv",
        "python -m ops.contract infer readings.ndjson.gz --channel weather",
        "python -m ops.contract infer readings.csv --delimiter tab --time-zone Europe/Berlin",
    ],
    statuses=(ExitStatus.INCOMPLETE,),
)
@click.argument(
    "path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--channel", metavar="NAME", help="Name of the contract; the default is made from FILE's."
)
@click.option("--delimiter", metavar="CHAR", help="Between cells of CSV; found by default.")
@click.option(
    "--time-zone",
    "time_zone",
    metavar="ZONE",
    help="Of times in CSV that have no offset, such as UTC or Europe/Berlin.",
)
@cli.format_option("json", text="Format of stdout: a JSON Schema document.")
def infer(
    path: Path,
    *,
    channel: str | None,
    delimiter: str | None,
    time_zone: str | None,
    output_format: str,  # noqa: ARG001  # there is only one
) -> None:
    """Propose a contract from a sample of readings: types, required fields, ranges, times.

    FILE is CSV (.csv, .tsv) or NDJSON, plain or compressed, as device.publish reads it. The
    contract goes to stdout; edit it and store it as contracts/NAME.json. Publishing FILE under it
    works: the command checks that it accepts every reading of FILE.

    A field is required if every reading has it. Bounds are twice what the sample has, rounded
    outwards. A string with few values that recur is an enumeration. An integer is a time if its
    name says so and its values are seconds or milliseconds of this century. What no type of a
    contract can hold is left out and named on stderr: devices may send it, and only raw keeps it.
    """
    channel = channel or _channel_of(path)
    _check_channel(channel)
    notes = _Notes()
    try:
        options = CsvOptions(
            delimiter="\t" if delimiter in {"\\t", "tab"} else delimiter,
            time_zone=None if time_zone is None else times.time_zone(time_zone),
        )
        file = SampleFile(path, options)
        if file.is_csv:
            file = replace(file, options=replace(options, delimiter=file.header()[0]))
        cells = Cells(options.time_zone)
        sample = _take_in(file, cells, notes)
        document = propose(sample, notes.add)
    except Unclear as reason:
        raise click.UsageError(f"expected readings in {path}: {reason}") from None
    except (TypeError, ValueError) as error:  # an option, the header, or the compression
        raise click.UsageError(f"{path}: {error}") from None
    contract = contracts.parse(channel, json.dumps(document))
    in_utc = replace(file.options, time_zone=options.time_zone or UTC)
    _check_each(replace(file, options=in_utc), contract, notes)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
    notes.end()
    if cells.need_time_zone:
        cli.say("some times have no offset: publish the file with --time-zone")
    cli.say(
        f"{channel}: proposed from {cli.counted(sample.kinds['object'], 'reading')}; edit it, and "
        f"store it as contracts/{channel}.json"
    )
    if notes.lines:
        cli.say(f"{cli.counted(len(notes.lines), 'line')} of {path} could not be used")
        raise SystemExit(ExitStatus.INCOMPLETE)
