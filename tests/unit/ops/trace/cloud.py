"""A message in every hop, in memory."""

import base64
import gzip
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import contracts
from telemetry_parser.parser import Parser
from tests.unit.ops.fakes import client_error

ARRIVED = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
HOUR = "telemetry/dt=2026-11-25/hour=10"
KEY = f"raw/{HOUR}/batch.ndjson.gz"
MANIFEST = "manifests/telemetry/2026-11-25T10.json"
GOOD = {
    "timestamp": 1_790_000_000_123,
    "temperature": 21.5,
    "humidity": 40,
    "battery": 99.5,
    "status": "ok",
}


def line(
    payload: object, *, thing: str = "sensor-1", trace: str = "t-1", seconds: float = 0
) -> bytes:
    envelope = {
        "payload": base64.b64encode(json.dumps(payload).encode()).decode(),
        "topic": f"dt/dev/{thing}/telemetry",
        "client_id": thing,
        "certificate_id": "cert",
        "received_at": round((ARRIVED.timestamp() + seconds) * 1000),
        "trace_id": trace,
    }
    return json.dumps(envelope).encode()


class Cloud:
    """S3, the log and the stack."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.log: list[str] = []
        self.read: list[str] = []

    def client(self, _service: str) -> Any:
        return self

    def add(self, key: str, content: bytes, seconds: float = 60) -> None:
        self.objects[key] = (content, ARRIVED + timedelta(seconds=seconds))

    def add_batch(self, folder: Path, *lines: bytes, key: str = KEY) -> None:
        """Add a raw object, and the outputs that the parser makes of it."""
        content = gzip.compress(b"\n".join(lines))
        self.add(key, content)
        parquet, rejected = folder / "parquet", folder / "rejected"
        Parser(contracts.load("telemetry")).parse(
            io.BytesIO(content), raw_key=key, parquet_path=parquet, rejected_path=rejected
        )
        stem = key.removeprefix("raw/").removesuffix(".ndjson.gz")
        for path, name in (
            (parquet, f"parsed/{stem}.parquet"),
            (rejected, f"rejected/{stem}.ndjson.gz"),
        ):
            if path.exists():
                self.add(name, path.read_bytes(), 62)
                path.unlink()

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        outputs = [
            {"OutputKey": key, "OutputValue": "bucket"} for key in ("RawBucket", "ParsedBucket")
        ]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}

    def get_bucket_notification_configuration(self, **_: Any) -> dict[str, Any]:
        events = ["s3:ObjectCreated:*"]
        return {"QueueConfigurations": [{"QueueArn": "arn:live", "Events": events}]}

    def list_event_source_mappings(self, **_: Any) -> dict[str, Any]:
        return {"EventSourceMappings": [{"FunctionArn": "parser"}]}

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        return {"FunctionName": "parser"}

    def get_paginator(self, operation: str) -> Any:
        return _Pages(self, operation)

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise client_error("HeadObject", "404", 404)
        content, moment = self.objects[Key]
        return {"LastModified": moment, "ContentLength": len(content)}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        if Key not in self.objects:
            raise client_error("GetObject", "NoSuchKey", 404)
        self.read.append(Key)
        return {"Body": io.BytesIO(self.objects[Key][0])}


class _Pages:
    def __init__(self, cloud: Cloud, operation: str) -> None:
        self._cloud, self._operation = cloud, operation

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        if self._operation == "filter_log_events":
            wanted = request["filterPattern"].strip('"')
            milliseconds = round((ARRIVED.timestamp() + 63) * 1000)
            found = [text for text in self._cloud.log if wanted in text]
            yield {"events": [{"message": text, "timestamp": milliseconds} for text in found]}
            return
        start = request.get("StartAfter", "")
        for key in sorted(self._cloud.objects):
            if key.startswith(request["Prefix"]) and key > start:
                yield {"Contents": [{"Key": key, "Size": 1}]}
