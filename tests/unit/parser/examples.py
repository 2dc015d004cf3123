"""Raw objects made by hand, and what the parser makes of them."""

import base64
import gzip
import io
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import contracts
from contracts import DIALECT, Contract
from telemetry_parser.parser import Parser, ParseResult
from telemetry_parser.settings import Limits

TELEMETRY = contracts.load("telemetry")
RAW_KEY = "raw/telemetry/dt=2026-11-22/hour=09/batch-1.ndjson.gz"
ARRIVAL_MS = 1_795_338_000_000

GOOD: dict[str, Any] = {
    "timestamp": ARRIVAL_MS - 1000,
    "temperature": 21.5,
    "humidity": 40,
    "battery": 87.25,
    "status": "ok",
}


def contract(required: Iterable[str] = (), **properties: Any) -> Contract:
    """A contract of its own, of channel ``test``."""
    document = {
        "$schema": DIALECT,
        "type": "object",
        "properties": properties,
        "required": list(required),
    }
    return contracts.parse("test", json.dumps(document))


def line(payload: bytes | Any, /, **fields: Any) -> bytes:
    """One raw line, as the topic rule makes it; a payload that is not bytes is sent as JSON."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "topic": "dt/dev/thing-1/telemetry",
        "client_id": "thing-1",
        "certificate_id": "c" * 64,
        "received_at": ARRIVAL_MS,
        "trace_id": "t-1",
    }
    return json.dumps(envelope | fields).encode()


def test_line(payload: bytes | Any, /, **fields: Any) -> bytes:
    """The same for a ``contract()``."""
    return line(payload, **({"topic": "dt/dev/thing-1/test"} | fields))


test_line.__test__ = False  # type: ignore[attr-defined]  # its name is no test's


@dataclass(frozen=True)
class Outcome:
    """What became of one raw object; ``table`` is None if there is no Parquet file."""

    result: ParseResult
    table: pa.Table | None
    rejected: list[dict[str, Any]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [] if self.table is None else self.table.to_pylist()

    @property
    def reasons(self) -> list[tuple[str | None, str]]:
        return [(row["path"], row["reason"]) for row in self.rejected]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


def parse_object(
    raw: bytes, of: Contract = TELEMETRY, *, limits: Limits | None = None, raw_key: str = RAW_KEY
) -> Outcome:
    """Parse one raw object."""
    with tempfile.TemporaryDirectory() as folder:
        parquet, rejected = Path(folder, "parquet"), Path(folder, "rejected")
        result = Parser(of, limits or Limits()).parse(
            io.BytesIO(raw), raw_key=raw_key, parquet_path=parquet, rejected_path=rejected
        )
        assert (parquet.stat().st_size if parquet.exists() else 0) == result.parquet_bytes
        assert (rejected.stat().st_size if rejected.exists() else 0) == result.rejected_bytes
        return Outcome(
            result,
            pq.read_table(parquet) if parquet.exists() else None,
            [json.loads(row) for row in gzip.decompress(rejected.read_bytes()).splitlines()]
            if rejected.exists()
            else [],
        )


def parse_lines(*lines: bytes, of: Contract = TELEMETRY, limits: Limits | None = None) -> Outcome:
    """Parse one raw object of these lines, as Firehose would join them."""
    return parse_object(gzip.compress(b"".join(one + b"\n" for one in lines)), of, limits=limits)


def parse_reading(reading: bytes | Any, of: Contract) -> Outcome:
    """Parse one message with one payload."""
    return parse_lines(test_line(reading), of=of)
