"""What a load makes of the readings: messages, raw objects and Parquet, measured on a sample.

The sample is simulated from the contract, packed by the device's packer and parsed by the parser.
"""

import base64
import gzip
import hashlib
import io
import math
import tempfile
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from contracts import Contract, names
from device import compact_json
from device.delivery import prices
from device.delivery.packer import pack
from device.readings.simulator import Simulator
from telemetry_parser.parser import Parser

MONTH_DAYS = 30
MONTH_SECONDS = MONTH_DAYS * 86400

# 2026-11-25 10:00 UTC: a fixed time, so that the same load always has the same bill.
_NOW = 1_795_600_800
_THING = "thing-000000"

# More readings than this in a message, or in the sample of an object, change nothing.
_MOST_PACKED = 2_000
_MOST_SAMPLED = 5_000


@dataclass(frozen=True, slots=True)
class Load:
    """What the devices do.

    Attributes:
        devices: All connected the whole month.
        interval_seconds: Between two readings of a device.
        reading_bytes: Size of a reading in JSON; None for that of a simulated one.
        max_linger_seconds: How long a device waits for more readings to fill a message.
    """

    devices: int
    interval_seconds: float
    reading_bytes: int | None = None
    max_linger_seconds: float = 10.0

    @property
    def readings(self) -> float:
        """Readings in a month."""
        return self.devices * MONTH_SECONDS / self.interval_seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """The messages and objects of a month.

    Attributes:
        topic: Where a device publishes.
        is_packed: Whether a message may hold several readings.
        readings: Readings in a month.
        reading_bytes: Size of a reading in JSON.
        readings_per_message: Readings in a message.
        payload_bytes: Size of a message's payload.
        objects: Raw objects in a month.
        raw_bytes: Their size, compressed.
        parquet_bytes: Size of the Parquet files that the parser makes of them.
        daily_bytes: The same, if there is one file per hour.
    """

    topic: str
    is_packed: bool
    readings: float
    reading_bytes: int
    readings_per_message: int
    payload_bytes: int
    objects: float
    raw_bytes: float
    parquet_bytes: float
    daily_bytes: float

    @property
    def messages(self) -> float:
        """Messages in a month."""
        return self.readings / self.readings_per_message


class Measurement:
    """Measures the traffic of one load on one channel.

    Args:
        environment: Part of the topics.
        contract: Contract of the readings.
        load: What the devices do.
        buffering_seconds: How long Firehose holds a batch open.
        buffering_bytes: Size at which it closes a batch earlier.

    Raises:
        SimulatorError: The contract requires a value that cannot be simulated.
    """

    def __init__(
        self,
        environment: str,
        contract: Contract,
        load: Load,
        *,
        buffering_seconds: int,
        buffering_bytes: int,
    ) -> None:
        self._contract = contract
        self._load = load
        self._buffering_seconds = max(1, buffering_seconds)
        self._buffering_bytes = buffering_bytes
        self._plain = names.topic(environment, _THING, contract.channel)
        self._basic = names.basic_ingest_topic(environment, _THING, contract.channel)
        self._now = float(_NOW)
        self._simulator = Simulator(contract, seed=0, clock=lambda: self._now)
        self._sample = self._simulated(_MOST_PACKED)
        self._own_bytes = sum(map(len, self._sample)) / len(self._sample)
        self._scale = (load.reading_bytes or self._own_bytes) / self._own_bytes

    def packed(self) -> Traffic:
        """Messages that wait for readings, by Basic Ingest: the publisher's default."""
        waited = 1 + math.floor(self._load.max_linger_seconds / self._load.interval_seconds)
        return self._traffic(self._basic, min(waited, self._fitting()), is_packed=True)

    def single(self, *, basic_ingest: bool) -> Traffic:
        """One message per reading."""
        return self._traffic(self._basic if basic_ingest else self._plain, 1, is_packed=False)

    def _simulated(self, count: int) -> list[bytes]:
        """The next readings of a device."""
        readings = []
        for _ in range(count):
            readings.append(compact_json.encode(self._simulator.reading()))
            self._now += self._load.interval_seconds
        return readings

    def _fitting(self) -> int:
        """How many readings fit into a message that is one metering unit."""
        limit = (prices.METERING_UNIT_BYTES - len(self._basic)) / self._scale
        counts = range(1, len(self._sample) + 1)
        return max(1, bisect_right(counts, limit, key=lambda n: len(pack(self._sample[:n]))))

    def _traffic(self, topic: str, readings_per_message: int, *, is_packed: bool) -> Traffic:
        own = self._sample[:readings_per_message]
        own_bytes = len(pack(own)) if is_packed else self._own_bytes
        payload_bytes = round(own_bytes * self._scale)
        messages = self._load.readings / readings_per_message
        line_bytes = len(raw_line(topic, b"", 0, 0)) + math.ceil(payload_bytes * 4 / 3)
        objects = min(
            messages,
            max(
                MONTH_SECONDS / self._buffering_seconds,
                messages * line_bytes / self._buffering_bytes,
            ),
        )
        in_object, in_hour = (
            max(1, min(round(number), _MOST_SAMPLED // readings_per_message))
            for number in (messages / objects, messages * 3600 / MONTH_SECONDS)
        )
        payloads = self._payloads(max(in_object, in_hour), readings_per_message, is_packed)
        raw = self._raw(topic, payloads[:in_object])
        envelopes = self._raw(topic, [b""] * in_object)
        in_object *= readings_per_message
        in_hour *= readings_per_message
        live_bytes, daily_bytes, least_bytes = map(
            self._parquet_bytes,
            (
                raw,
                self._raw(topic, payloads[: in_hour // readings_per_message]),
                self._raw(topic, payloads[:1]),
            ),
        )
        # What a file has beside its rows does not grow with the readings.
        file_bytes = max(0.0, least_bytes - readings_per_message * daily_bytes / in_hour)

        def month(sampled_bytes: float, fixed_bytes: float, sampled_readings: int) -> float:
            scaled = fixed_bytes + max(0.0, sampled_bytes - fixed_bytes) * self._scale
            return scaled * self._load.readings / sampled_readings

        return Traffic(
            topic=topic,
            is_packed=is_packed,
            readings=self._load.readings,
            reading_bytes=round(self._own_bytes * self._scale),
            readings_per_message=readings_per_message,
            payload_bytes=payload_bytes,
            objects=objects,
            raw_bytes=month(len(raw), len(envelopes), in_object),
            parquet_bytes=month(live_bytes, file_bytes, in_object),
            daily_bytes=month(daily_bytes, file_bytes, in_hour),
        )

    def _payloads(self, count: int, readings_per_message: int, is_packed: bool) -> list[bytes]:
        payloads = []
        for number in range(count):
            self._now = _NOW + number
            readings = self._simulated(readings_per_message)
            payloads.append(pack(readings) if is_packed else readings[0])
        return payloads

    def _raw(self, topic: str, payloads: list[bytes]) -> bytes:
        """A raw object, as Firehose writes it."""
        lines = (
            raw_line(topic, payload, number, number % self._load.devices)
            for number, payload in enumerate(payloads)
        )
        return gzip.compress(b"\n".join(lines) + b"\n", 6)

    def _parquet_bytes(self, raw: bytes) -> int:
        with tempfile.TemporaryDirectory() as folder:
            return (
                Parser(self._contract)
                .parse(
                    io.BytesIO(raw),
                    raw_key=f"raw/{self._contract.channel}/sample.ndjson.gz",
                    parquet_path=Path(folder, "sample.parquet"),
                    rejected_path=Path(folder, "sample.rejected.ndjson.gz"),
                )
                .parquet_bytes
            )


def raw_line(topic: str, payload: bytes, number: int, device: int) -> bytes:
    """A message as the topic rule writes it; the ids compress as little as real ones."""
    plain = "dt/" + topic.partition("dt/")[2]
    thing = f"thing-{device:06}"
    return compact_json.encode(
        {
            "payload": base64.b64encode(payload).decode(),
            "topic": plain.replace(_THING, thing),
            "client_id": thing,
            "certificate_id": hashlib.sha256(thing.encode()).hexdigest(),
            "received_at": 1000 * _NOW + 10 * number,
            "trace_id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        }
    )
