"""A broker in memory and a sink that publishes to it, for measurements."""

from concurrent.futures import Future
from pathlib import Path

from device.delivery import prices
from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.delivery.sink import Sink
from device.delivery.spool import Spool
from device.errors import ConnectionFailed, Unreachable
from device.readings.check import ReadingCheck

TOPIC = "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"
SPOOL_BYTES = 1 << 32


class Broker:
    """Acknowledges at once, or is away."""

    failure: ConnectionFailed | None = None

    def __init__(self, *, away: bool) -> None:
        self._away = away
        self.payload_bytes = 0
        self.messages = 0
        self.units = 0

    def connect(self) -> None:
        if self._away:
            raise Unreachable("away")

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        self.payload_bytes += len(payload)
        self.messages += 1
        self.units += prices.units(topic, len(payload))
        answer: Future[PublishResult] = Future()
        answer.set_result(ACKNOWLEDGED)
        return answer

    def close(self) -> None:
        pass


def open_sink(
    folder: Path, broker: Broker, *, pack: bool = True, check: ReadingCheck | None = None
) -> Sink:
    return Sink(
        Spool(folder / "spool.db", max_bytes=SPOOL_BYTES),
        TOPIC,
        lambda: broker,
        check=check,
        pack=pack,
        max_linger_seconds=10.0,
        when_full="refuse",
    )
