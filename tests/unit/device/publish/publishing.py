"""Publishers to test, and what they have sent."""

import gzip
import json
from typing import Any

from click.testing import Result

from device.delivery.mqtt import PublishOutcome, PublishResult
from device.delivery.publisher import Publisher
from device.delivery.sink import Sink
from device.delivery.spool import Spool
from device.readings.check import ReadingCheck
from device.readings.sources import Payload, Source
from tests.unit.device.fake_broker import FakeConnection

REFUSED = PublishResult(PublishOutcome.REFUSED, "not authorized (135)")


UNKNOWN = PublishResult(PublishOutcome.UNKNOWN, "no answer within 20 s")


GOOD = json.dumps(
    {"timestamp": 1_790_000_000_123, "temperature": 1, "humidity": 1, "battery": 1, "status": "ok"}
)


def summary(result: Result) -> dict[str, int]:
    (line,) = result.stdout.splitlines()
    counts: dict[str, int] = json.loads(line)
    return counts


def payloads(count: int) -> Source:
    return (Payload(number, b"%d" % number) for number in range(1, count + 1))


def publisher(
    broker: FakeConnection,
    spool: Spool | None = None,
    check: ReadingCheck | None = None,
    **options: Any,
) -> Publisher:
    taking = Sink(
        spool or Spool(None, max_bytes=1 << 24),
        "a/topic",
        lambda: broker,
        check=check,
        pack=False,
        max_linger_seconds=10.0,
        when_full="refuse",
    )
    return Publisher(taking, **{"progress": lambda _: None, "say": lambda _: None, **options})


def sent_readings(broker: FakeConnection) -> list[Any]:
    return [reading for _, payload in broker.sent for reading in unpacked(payload)]


def unpacked(payload: bytes) -> list[Any]:
    value = json.loads(gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload)
    return value if isinstance(value, list) else [value]


def fail(error: Exception) -> None:
    raise error
