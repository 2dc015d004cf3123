"""What to publish: payloads from the simulator, from files and from the command line.

Everything streams, a file of any length takes the memory of one line, and what cannot be sent
comes out in its place as ``Unusable``, so that the rest is sent all the same.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from contracts import Contract, Kind
from device.delivery.mqtt import MAX_PAYLOAD_BYTES
from device.readings.check import ReadingCheck, ReadingError, parse_json
from device.readings.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload, and where it comes from (``line 7``), for a person to find it."""

    place: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Unusable:
    """What stood at ``place`` cannot be sent, and why."""

    place: str
    reason: str


Source = Iterator[Payload | Unusable]


def from_simulator(simulator: Simulator, count: int) -> Source:
    """``count`` readings, each made when it is asked for."""
    for number in range(1, count + 1):
        yield Payload(f"reading {number}", _compact(simulator.reading()))


def from_messages(messages: Iterable[str]) -> Source:
    """The arguments of the command line, to the byte."""
    for number, message in enumerate(messages, start=1):
        yield Payload(f"message {number}", os.fsencode(message))


def from_ndjson(file: BinaryIO, *, verbatim: bool) -> Source:
    r"""One payload per line, which ends with ``\n``.

    Args:
        file: Read as it is asked for, so that it may be a pipe that is still being written to.
        verbatim: Blank lines and a ``\r`` at the end are part of the data.
    """
    number = 0
    while line := file.readline(MAX_PAYLOAD_BYTES + 2):
        number += 1
        place = f"line {number}"
        content = line.removesuffix(b"\n")
        if not verbatim:
            content = content.removesuffix(b"\r")
        if len(content) > MAX_PAYLOAD_BYTES:
            while not line.endswith(b"\n") and (line := file.readline(MAX_PAYLOAD_BYTES)):
                pass
            yield Unusable(place, f"expected at most {MAX_PAYLOAD_BYTES} bytes, got more")
        elif content.strip() or verbatim:
            yield Payload(place, content)


def from_csv(file: BinaryIO, contract: Contract) -> Source:
    """One reading per row; the header names the fields.

    The contract says what a cell is: text for a string, JSON for everything else. An empty cell is
    an absent field; a column that the contract does not know is text. What does not read as its
    field's type stays text, for the check to find.
    """
    kinds = {field.name: field.schema.kind for field in contract.fields}
    # Bytes that are not UTF-8 must not end the whole file: they become surrogates in their cell.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text, strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            yield Unusable(f"line {rows.line_num}", f"expected CSV: {error}")
            continue
        place = f"line {rows.line_num}"
        if header is None:
            header = row
        elif row:
            yield _from_row(place, header, row, kinds)
    # The file is the caller's to close.
    text.detach()


def _from_row(
    place: str, header: list[str], row: list[str], kinds: dict[str, Kind]
) -> Payload | Unusable:
    if len(row) != len(header):
        return Unusable(place, f"expected {len(header)} cells, as in the header, got {len(row)}")
    reading = {
        name: _from_cell(cell, kinds.get(name, "string"))
        for name, cell in zip(header, row, strict=True)
        if cell
    }
    try:
        return Payload(place, _compact(reading))
    except UnicodeEncodeError:
        return Unusable(place, "expected UTF-8")


def _from_cell(cell: str, kind: Kind) -> Any:
    if kind == "string":
        return cell
    try:
        return parse_json(cell.encode("utf-8", "surrogateescape"))
    except ReadingError:
        return cell


def checked(source: Source, check: ReadingCheck) -> Source:
    """The same, what does not fit the contract made ``Unusable``."""
    for item in source:
        if isinstance(item, Payload):
            try:
                check.check(item.content)
            except ReadingError as error:
                yield Unusable(item.place, str(error))
                continue
        yield item


def _compact(reading: dict[str, Any]) -> bytes:
    return json.dumps(reading, ensure_ascii=False, separators=(",", ":")).encode()
