"""Sinks to test, and the numbered readings that are put into them."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

from device.delivery.mqtt import PublishOutcome, PublishResult
from device.delivery.sink import Sink
from device.delivery.spool import Spool
from tests.unit.device.fake_broker import FakeConnection

TOPIC = "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"


REFUSED = PublishResult(PublishOutcome.REFUSED, "not authorized (135)")


UNKNOWN = PublishResult(PublishOutcome.UNKNOWN, "no answer within 20 s")


NOW = 1_795_000_000.0  # in November 2026


GOOD = {
    "timestamp": 1_790_000_000_123,
    "temperature": 1,
    "humidity": 1,
    "battery": 1,
    "status": "ok",
}


def make(folder: Path, connection: Any, **options: Any) -> Sink:
    max_bytes = options.pop("max_bytes", 1 << 28)
    spool = options.pop("spool", None) or Spool(folder / "spool.db", max_bytes=max_bytes)
    connect = connection if callable(connection) else lambda: connection
    defaults = {"check": None, "pack": True, "max_linger_seconds": 60.0, "when_full": "refuse"}
    return Sink(spool, TOPIC, connect, **{**defaults, **options})


def numbered(number: int) -> bytes:
    return b'{"n":%d}' % number


def numbers(payload: bytes) -> list[int]:
    text = gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload
    value = json.loads(text)
    return [reading["n"] for reading in (value if isinstance(value, list) else [value])]


def sent_numbers(connection: FakeConnection) -> list[int]:
    return [number for _, payload in connection.sent for number in numbers(payload)]


def wait_until(holds: Any) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


# With its threads.


def fail(error: Exception) -> None:
    raise error
