"""Raw objects to measure with: the same every time."""

import base64
import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RAW_KEY = "raw/telemetry/dt=2026-11-22/hour=09/telemetry-1-2026-11-22-09-00-01-0b1c.ndjson.gz"
PACK = 400
THINGS = 1000


def readings(count: int, source: random.Random) -> Iterator[dict[str, Any]]:
    """Plausible readings of the telemetry contract."""
    for number in range(count):
        yield {
            "timestamp": 1_795_338_000_000 + 10 * number,
            "temperature": round(source.uniform(-20, 40), 2),
            "humidity": round(source.uniform(0, 100), 1),
            "battery": round(source.uniform(0, 100), 1),
            "status": source.choice(["ok", "ok", "ok", "low_battery"]),
            "sequence": number // THINGS,
            "pressure": round(source.uniform(950, 1050), 1),
            "firmware": "1.4.2",
        }


def raw_line(payload: bytes, number: int) -> bytes:
    """What the topic rule makes of one message."""
    thing = f"thing-{number % THINGS:04d}"
    return _json(
        {
            "payload": base64.b64encode(payload).decode(),
            "topic": f"dt/dev/{thing}/telemetry",
            "client_id": thing,
            "certificate_id": f"{number % THINGS:064x}",
            "received_at": 1_795_338_001_000 + 10 * number,
            "trace_id": hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest(),
        }
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def make(folder: Path, singles: int, packed: int) -> dict[str, int]:
    """Write ``single.gz``, ``bad.gz`` and ``packed.gz``; return how many readings each has.

    ``bad`` is ``single``, but one reading in 20 has a text for a number or is cut short.
    """
    source = random.Random(1)  # noqa: S311  # the same every time
    payloads = [_json(reading) for reading in readings(singles, source)]
    _write(folder / "single.gz", payloads)
    for number in range(0, singles, 20):
        wrong = _json(json.loads(payloads[number]) | {"temperature": "n/a"})
        payloads[number] = wrong if number % 40 else wrong[:-9]
    _write(folder / "bad.gz", payloads)
    many = list(readings(packed, source))
    packs = [_json(many[start : start + PACK]) for start in range(0, packed, PACK)]
    _write(folder / "packed.gz", [gzip.compress(pack) for pack in packs])
    return {"single": singles, "packed": packed, "bad": singles}


def _write(path: Path, payloads: list[bytes]) -> None:
    lines = [raw_line(payload, number) for number, payload in enumerate(payloads)]
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 6))


def payload_sizes(folder: Path, batch: str) -> Iterator[int]:
    """Sizes of the batch's payloads, as published."""
    for line in gzip.decompress((folder / f"{batch}.gz").read_bytes()).splitlines():
        yield len(base64.b64decode(json.loads(line)["payload"]))
