"""Rebuild one hour: list, parse, sort, write, and say in the manifest what was done.

Knows neither boto3 nor Powertools: the object store is handed in.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec

from contracts import Contract
from telemetry_parser.parser import Parser
from telemetry_parser.raw import Readable
from telemetry_parser.settings import Limits
from telemetry_rebuild import manifest as manifests
from telemetry_rebuild.files import DailyFiles, rows_per_group
from telemetry_rebuild.hours import Hour
from telemetry_rebuild.manifest import ListedObject, Manifest, Output
from telemetry_rebuild.parsing import parse_hour
from telemetry_rebuild.sorting import Resources, Sorter


class RebuildError(ValueError):
    """The hour cannot be rebuilt; its daily objects stay as they are. The message says why."""


class HistoryStore(Protocol):
    """Where objects are listed, read and written; see ``objects.HistoryObjects``."""

    def list(self, bucket: str, prefix: str) -> list[ListedObject]:
        """Every object under a prefix."""

    def open(self, bucket: str, key: str) -> AbstractContextManager[Readable]:
        """Stream an object."""

    def get(self, bucket: str, key: str) -> bytes | None:
        """Read an object; None if there is none."""

    def put(self, bucket: str, key: str, path: Path) -> None:
        """Write a file as an object, which is visible as a whole or not at all."""

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What became of an hour.

    Attributes:
        unchanged: Nothing was written: the manifest of an earlier run is still true.
        seconds: How long it took.
    """

    manifest: Manifest
    unchanged: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilder:
    """Rebuilds hours of any channel.

    Args:
        raw_bucket: Holds ``raw/``.
        parsed_bucket: Holds ``daily/`` and ``manifests/``.
        retention_days: How long daily objects are kept.
        memory_mebibytes: What a sort may use before it writes to disk.
        threads: Of a sort.
        folder: Where local files go, in a folder that is removed at the end.
        clock: Seconds; only differences are used.
    """

    objects: HistoryStore
    raw_bucket: str
    parsed_bucket: str
    retention_days: int
    memory_mebibytes: int
    threads: int
    limits: Limits = Limits()  # noqa: RUF009  # frozen
    folder: Path | None = None
    rows_per_sort: int | None = None
    clock: Callable[[], float] = time.monotonic

    def rebuild(self, contract: Contract, hour: Hour, *, force: bool = False) -> Rebuilt:
        """Rebuild the daily objects of ``hour``, unless nothing would change.

        Args:
            contract: Of the channel.
            hour: Of arrival.
            force: Rebuild also if neither the raw objects nor the code nor the contract changed.

        Raises:
            RebuildError: Raw objects are gone that the daily objects were made of.
        """
        started = self.clock()
        listed = self.objects.list(self.raw_bucket, hour.raw_prefix(contract.channel))
        raw_objects = tuple(one for one in listed if one.key.endswith(".ndjson.gz"))
        version = manifests.version_of(contract, self.retention_days)
        earlier = self._earlier(contract, hour)
        if earlier is not None:
            _check_nothing_is_gone(earlier, raw_objects)
            if not force and earlier.is_of(raw_objects, version):
                return Rebuilt(manifest=earlier, unchanged=True, seconds=self.clock() - started)
        begun = Manifest(
            channel=contract.channel,
            hour=str(hour),
            complete=False,
            version=version,
            inputs=earlier.inputs if earlier else (),
            skipped=earlier.skipped if earlier else (),
            outputs=earlier.outputs if earlier else (),
        )
        with TemporaryDirectory(dir=self.folder) as folder:
            manifest = self._build(contract, hour, raw_objects, begun, Path(folder))
        return Rebuilt(manifest=manifest, unchanged=False, seconds=self.clock() - started)

    def _earlier(self, contract: Contract, hour: Hour) -> Manifest | None:
        key = hour.manifest_key(contract.channel)
        content = self.objects.get(self.parsed_bucket, key)
        try:
            return None if content is None else manifests.decode(content)
        except msgspec.DecodeError as error:
            raise RebuildError(f"expected a manifest in {key}, got: {error}") from error

    def _build(
        self,
        contract: Contract,
        hour: Hour,
        raw_objects: tuple[ListedObject, ...],
        begun: Manifest,
        folder: Path,
    ) -> Manifest:
        parsed = parse_hour(
            Parser(contract, self.limits),
            raw_objects,
            lambda one: self.objects.open(self.raw_bucket, one.key),
            folder,
        )
        sorter = Sorter(
            contract,
            hour,
            parsed,
            retention_days=self.retention_days,
            resources=Resources(
                memory_mebibytes=self.memory_mebibytes,
                threads=self.threads,
                folder=folder / "sort",
            ),
            rows_per_sort=self.rows_per_sort,
        )
        with closing(sorter):
            files = DailyFiles(contract, hour, sorter, rows_per_group(parsed), folder)
            # A run that ends half-way, and a later one of other code, must know what may be there.
            possible = sorted(files.keys | begun.output_keys)
            outputs = tuple(Output(key, 0, 0, "") for key in possible)
            self._put_manifest(hour, msgspec.structs.replace(begun, outputs=outputs), folder)
            written = []
            for output, path in files.write():
                self.objects.put(self.parsed_bucket, output.key, path)
                path.unlink()
                written.append(output)
        for key in begun.output_keys - files.keys:
            self.objects.remove(self.parsed_bucket, key)
        done = msgspec.structs.replace(
            begun,
            complete=True,
            inputs=tuple(parsed.inputs),
            skipped=tuple(parsed.skipped),
            rows=sum(output.rows for output in written),
            rejected=parsed.rejected,
            repeated=sorter.repeated,
            misdated=sorter.misdated,
            outputs=tuple(written),
        )
        self._put_manifest(hour, done, folder)
        return done

    def _put_manifest(self, hour: Hour, manifest: Manifest, folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_bytes(manifests.encode(manifest))
        self.objects.put(self.parsed_bucket, hour.manifest_key(manifest.channel), path)


def _check_nothing_is_gone(earlier: Manifest, raw_objects: tuple[ListedObject, ...]) -> None:
    """Raw objects expire before daily ones do: a replay of old hours must not delete history."""
    gone = {one.key for one in earlier.raw_objects} - {one.key for one in raw_objects}
    if gone:
        raise RebuildError(
            f"{len(gone)} raw objects are gone that the hour's daily objects were made of, "
            f"{min(gone)} among them; the daily objects stay. To rebuild the hour without them, "
            "delete its manifest first"
        )
