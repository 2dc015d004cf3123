"""Parse every raw object of an hour into a local Parquet file.

Pure, except that it writes the files.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from telemetry_parser.parser import Parser
from telemetry_parser.raw import ObjectError, Readable
from telemetry_rebuild.manifest import Input, ListedObject, SkippedObject

# Streams the content of a raw object.
Open = Callable[[ListedObject], AbstractContextManager[Readable]]


@dataclass(slots=True)
class ParsedHour:
    """What the raw objects of an hour hold.

    Attributes:
        files: Raw key and Parquet file of each object that has rows, in the order of the keys.
        payload_bytes: Size of all payloads after gunzip.
    """

    inputs: list[Input] = field(default_factory=list)
    skipped: list[SkippedObject] = field(default_factory=list)
    files: list[tuple[str, Path]] = field(default_factory=list)
    payload_bytes: int = 0

    @property
    def readings(self) -> int:
        """Readings that fit the contract."""
        return sum(one.readings for one in self.inputs)

    @property
    def rejected(self) -> int:
        """Readings, and whole messages, that do not."""
        return sum(one.rejected for one in self.inputs)


def parse_hour(
    parser: Parser, raw_objects: Iterable[ListedObject], open_raw: Open, folder: Path
) -> ParsedHour:
    """Parse ``raw_objects`` in the order of their keys; write the files to ``folder``.

    An object that cannot be read to its end gives no rows. The live parser has put it into the
    dead-letter queue. What the parser rejects it has written as well, so that is only counted.
    """
    hour = ParsedHour()
    for number, raw_object in enumerate(sorted(raw_objects, key=lambda one: one.key)):
        path, rejected = folder / f"{number}.parquet", folder / "rejected"
        try:
            with open_raw(raw_object) as raw:
                result = parser.parse(
                    raw, raw_key=raw_object.key, parquet_path=path, rejected_path=rejected
                )
        except ObjectError as error:
            path.unlink(missing_ok=True)
            hour.skipped.append(SkippedObject(raw_object.key, raw_object.etag, str(error)))
            continue
        finally:
            rejected.unlink(missing_ok=True)
        hour.inputs.append(
            Input(
                raw_object.key,
                raw_object.etag,
                messages=result.messages,
                readings=result.readings_parsed,
                rejected=result.readings_rejected,
            )
        )
        hour.payload_bytes += result.payload_bytes
        if path.exists():
            hour.files.append((raw_object.key, path))
    return hour
