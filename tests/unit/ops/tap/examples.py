"""Messages as they pass a hop."""

import base64
import json
from datetime import UTC, datetime, timedelta

import click

import contracts
from ops.tap import show
from ops.tap.messages import Reader, Tapped

NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)
CONTRACT = contracts.load("telemetry")
READER = Reader(CONTRACT)
TOPIC = "dt/dev/sensor-1/telemetry"
GOOD = {
    "timestamp": 1_790_000_000_123,
    "temperature": 21.5,
    "humidity": 40,
    "battery": 99.5,
    "status": "ok",
}
BAD = {**GOOD, "temperature": "very hot"}


def encoded(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def raw_line(payload: object, thing: str = "sensor-1") -> bytes:
    envelope = {
        "payload": base64.b64encode(encoded(payload)).decode(),
        "topic": f"dt/dev/{thing}/telemetry",
        "received_at": round(NOW.timestamp() * 1000),
    }
    return json.dumps(envelope).encode()


def message(payload: object) -> Tapped:
    return READER.message(TOPIC, encoded(payload), NOW)


def plain(tapped: Tapped) -> str:
    return click.unstyle(show.line(tapped, NOW + timedelta(seconds=70)))
