"""What to publish: payloads from the simulator, from files and from the command line.

Everything streams: a file of any length takes the memory of one line. An item that cannot be sent
comes out in its place as ``Unusable``, so that the others are sent all the same.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from device import compact_json
from device.delivery.mqtt import MAX_PAYLOAD_BYTES
from device.readings.files import DamagedFileError
from device.readings.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload, and its 1-based number in its source: the line of a file, for example."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why the item with that number cannot be sent."""

    number: int
    reason: str


Source = Iterator[Payload | Unusable]


def from_simulator(simulator: Simulator, count: int) -> Source:
    """``count`` readings, each made when it is asked for."""
    for number in range(1, count + 1):
        yield Payload(number, compact_json.encode(simulator.reading()))


def from_messages(messages: Iterable[str]) -> Source:
    """The arguments of the command line, byte for byte."""
    for number, message in enumerate(messages, start=1):
        yield Payload(number, os.fsencode(message))


def from_ndjson(file: BinaryIO, *, verbatim: bool) -> Source:
    r"""One payload per line, which ends with ``\n``.

    Args:
        file: Read as it is asked for, so that it may be a pipe that is still being written to.
        verbatim: Blank lines and a ``\r`` at the end are part of the data.
    """
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(MAX_PAYLOAD_BYTES + 2)
        except DamagedFileError as error:
            yield Unusable(number, str(error))
            return
        if not line:
            return
        payload = line.removesuffix(b"\n")
        if not verbatim:
            payload = payload.removesuffix(b"\r")
        if len(payload) > MAX_PAYLOAD_BYTES:
            yield Unusable(number, f"expected at most {MAX_PAYLOAD_BYTES} bytes, got more")
            _skip_line(file, line)
        elif payload.strip() or verbatim:
            yield Payload(number, payload)


def _skip_line(file: BinaryIO, line: bytes) -> None:
    """Read to the end of a line that is too long; a damaged file is found by the next read."""
    try:
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_PAYLOAD_BYTES)
    except DamagedFileError:
        pass
