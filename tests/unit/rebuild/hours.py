"""Raw hours for the tests, and what the rebuild makes of them."""

import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow.parquet as pq

import contracts
from contracts import Contract
from telemetry_rebuild import manifest as manifests
from telemetry_rebuild.hours import Hour
from telemetry_rebuild.manifest import ListedObject, Manifest
from telemetry_rebuild.rebuild import Rebuilder, Rebuilt
from tests.unit.parser.examples import ARRIVAL_MS, GOOD, TELEMETRY, line
from tests.unit.parser.fakes import FakeObjects

HOUR = Hour.parse("2026-11-22T09")
RETENTION_DAYS = 100
RAW, PARSED = "raw-bucket", "parsed-bucket"
DAY_MS = 86_400_000


class FakeHistory(FakeObjects):
    """Buckets in memory that can be listed."""

    def list(self, bucket: str, prefix: str) -> list[ListedObject]:
        self._called("list", bucket, prefix)
        return [
            ListedObject(key, str(hash(content)))
            for (owner, key), content in sorted(self.content.items())
            if owner == bucket and key.startswith(prefix)
        ]

    def get(self, bucket: str, key: str) -> bytes | None:
        self._called("get", bucket, key)
        return self.content.get((bucket, key))


@dataclass
class Lake:
    """A raw bucket and a parsed one."""

    objects: FakeHistory
    contract: Contract = TELEMETRY

    def rebuild(self, *, force: bool = False, hour: Hour = HOUR, **options: Any) -> Rebuilt:
        defaults: dict[str, Any] = {
            "retention_days": RETENTION_DAYS,
            "memory_mebibytes": 64,
            "threads": 1,
        }
        rebuilder = Rebuilder(
            objects=self.objects, raw_bucket=RAW, parsed_bucket=PARSED, **(defaults | options)
        )
        return rebuilder.rebuild(self.contract, hour, force=force)

    def put_raw(self, name: str, content: bytes) -> str:
        key = f"{HOUR.raw_prefix(self.contract.channel)}{name}.ndjson.gz"
        self.objects.content[RAW, key] = content
        return key

    def outputs(self) -> dict[str, bytes]:
        """The daily objects and the manifests, by key."""
        return {key: self.objects.content[PARSED, key] for key in self.objects.keys(PARSED)}

    def manifest(self) -> Manifest:
        key = HOUR.manifest_key(self.contract.channel)
        return manifests.decode(self.objects.content[PARSED, key])

    def days(self) -> dict[date, list[dict[str, Any]]]:
        """The rows of each day, those of several objects in the order of their numbers."""
        found: dict[date, list[dict[str, Any]]] = {}
        for output in self.manifest().outputs:
            day = date.fromisoformat(output.key.split("day=")[1][:10])
            rows = pq.read_table(io.BytesIO(self.outputs()[output.key])).to_pylist()
            assert len(rows) == output.rows > 0
            found.setdefault(day, []).extend(rows)
        return found


def lake(raw: Mapping[str, bytes] = {}, contract: Contract = TELEMETRY) -> Lake:  # read only
    """A lake with these raw objects, by name."""
    made = Lake(FakeHistory(), contract)
    for name, content in raw.items():
        made.put_raw(name, content)
    return made


def packed(*lines: bytes) -> bytes:
    """A raw object of these lines."""
    return gzip.compress(b"".join(one + b"\n" for one in lines), mtime=0)


def reading(**fields: Any) -> dict[str, Any]:
    return GOOD | fields


def of_thing(thing: str, payload: Any, **fields: Any) -> bytes:
    return line(payload, **({"topic": f"dt/dev/{thing}/telemetry"} | fields))


def parse_contract(document: dict[str, Any]) -> Contract:
    return contracts.parse("test", json.dumps(document))


__all__ = ["ARRIVAL_MS", "GOOD", "TELEMETRY", "line"]
