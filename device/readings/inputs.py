"""The input file of the command line: its options, and its readings whatever its format."""

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from contracts import Contract
from device.readings import files, sources, times
from device.readings.csv_rows import CsvOptions, CsvRows
from device.readings.sources import Source


def csv_options(
    delimiter: str | None, renamed: tuple[str, ...], time_zone: str | None
) -> CsvOptions:
    """Read the options of the command line that say how to read a CSV file.

    Raises:
        ValueError: One of them has a bad value.
    """
    if delimiter is not None:
        delimiter = "\t" if delimiter in {"\\t", "tab"} else delimiter
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise ValueError(f"expected one character for --delimiter, got {delimiter!r}")
    fields: dict[str, str] = {}
    for pair in renamed:
        column, equals, name = pair.rpartition("=")
        if not (equals and column and name):
            raise ValueError(f"expected --map COLUMN=FIELD, got {pair!r}")
        if column in fields or name in fields.values():
            raise ValueError(f"expected each column and field once in --map, got {pair!r} too")
        fields[column] = name
    zone = None if time_zone is None else times.time_zone(time_zone)
    return CsvOptions(delimiter=delimiter, time_zone=zone, fields=fields)


def from_file(
    file: BinaryIO,
    file_format: str | None,
    contract: Contract,
    options: CsvOptions,
    *,
    verbatim: bool,
    say: Callable[[str], None],
) -> Source:
    """Return the payloads of a file.

    Raises:
        ValueError: The file's compression or header cannot be used, or an option is for CSV only.
    """
    name = str(getattr(file, "name", ""))
    suffix = files.file_type(name)
    is_csv = suffix in {"csv", "tsv"} if file_format is None else file_format == "csv"
    stream = files.opened(file, name, verbatim=verbatim and not is_csv)
    if not is_csv:
        if options != CsvOptions():
            raise ValueError(
                "--delimiter, --map and --time-zone are for CSV; add --file-format csv"
            )
        return sources.from_ndjson(stream, verbatim=verbatim)
    if suffix == "tsv" and options.delimiter is None:
        options = replace(options, delimiter="\t")
    rows = CsvRows(stream, contract, options)
    if rows.left_out:
        say(f"left out, as the pipeline adds them itself: {', '.join(rows.left_out)}")
    return rows
