"""The manifest of an hour: what went into its daily objects, and what came out.

Pure: values in, bytes out.
"""

import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path

import msgspec

import contracts
import telemetry_parser
from contracts import Contract

# Packages whose version can change the bytes of an output.
_PACKAGES = ("arro3-core", "arro3-io", "duckdb", "isal", "msgspec")


class ListedObject(msgspec.Struct, frozen=True):
    """An object in the raw bucket, as a listing names it."""

    key: str
    etag: str


class Input(msgspec.Struct, frozen=True):
    """A raw object that was parsed.

    Attributes:
        messages: Lines that are not blank.
        readings: Readings that fit the contract.
        rejected: Readings, and whole messages, that do not.
    """

    key: str
    etag: str
    messages: int
    readings: int
    rejected: int


class SkippedObject(msgspec.Struct, frozen=True):
    """A raw object that cannot be read, and why."""

    key: str
    etag: str
    reason: str


class Output(msgspec.Struct, frozen=True):
    """A daily object."""

    key: str
    rows: int
    bytes: int
    sha256: str


class Version(msgspec.Struct, frozen=True):
    """What decides the outputs beside the raw objects.

    Attributes:
        contract: Hash of the contract.
        code: Hash of the code and of the versions of the packages that it uses.
        retention_days: How far back a reading's own time is plausible.
    """

    contract: str
    code: str
    retention_days: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All about one hour.

    ``readings`` of all inputs are ``rows`` and ``repeated`` together.

    Attributes:
        complete: Whether the outputs are in place. Before the first one is written, the manifest
            names all that may be there, and is not complete.
        rejected: Of all inputs.
        repeated: Readings that were removed, as the hour holds them once already.
        misdated: Readings whose own time is implausible, under their day of arrival; those that
            were removed as repeated are included.
    """

    channel: str
    hour: str
    complete: bool
    version: Version
    inputs: tuple[Input, ...] = ()
    skipped: tuple[SkippedObject, ...] = ()
    rows: int = 0
    rejected: int = 0
    repeated: int = 0
    misdated: int = 0
    outputs: tuple[Output, ...] = ()

    def is_of(self, raw_objects: tuple[ListedObject, ...], version: Version) -> bool:
        """Whether a run over ``raw_objects`` would give the same outputs."""
        return self.complete and self.version == version and self.raw_objects == set(raw_objects)

    @property
    def raw_objects(self) -> set[ListedObject]:
        """All that was there, unreadable ones included."""
        parsed = {ListedObject(one.key, one.etag) for one in self.inputs}
        return parsed | {ListedObject(one.key, one.etag) for one in self.skipped}

    @property
    def output_keys(self) -> set[str]:
        """The keys of all outputs."""
        return {output.key for output in self.outputs}


def encode(manifest: Manifest) -> bytes:
    """Write a manifest as JSON that people can read as well."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(content: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        msgspec.DecodeError: It is not one.
    """
    return msgspec.json.decode(content, type=Manifest)


def version_of(contract: Contract, retention_days: int) -> Version:
    """The version of the outputs that this code makes."""
    document = json.dumps(contract.document, sort_keys=True).encode()
    return Version(_hash(contract.channel.encode(), document), _code_hash(), retention_days)


@cache
def _code_hash() -> str:
    folders = [
        Path(file).parent
        for file in (contracts.__file__, telemetry_parser.__file__, __file__)
        if file is not None
    ]
    sources = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py"))]
    packages = [f"{name}=={metadata.version(name)}".encode() for name in _PACKAGES]
    return _hash(*sources, *packages)


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()[:16]
