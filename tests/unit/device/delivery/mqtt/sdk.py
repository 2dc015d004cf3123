"""The SDK's client, which does as it is told."""

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from awscrt import exceptions

from device.delivery import diagnosis
from device.delivery.mqtt import Connection
from device.identity import Identity


class Sdk:
    """The SDK's client, which does as it is told when it is started."""

    def __init__(self, on_start: Callable[["Sdk"], None]) -> None:
        self._on_start = on_start
        self.options: dict[str, Any] = {}
        self.sent: list[Future[Any]] = []
        self.packets: list[Any] = []
        self.stopped = 0

    def build(self, **options: Any) -> "Sdk":
        self.options = options
        return self

    def start(self) -> None:
        self._on_start(self)

    def stop(self) -> None:
        self.stopped += 1
        for future in self.sent:
            if not future.done():
                future.set_exception(error("AWS_ERROR_MQTT5_USER_REQUESTED_STOP"))
        self.options["on_lifecycle_stopped"](None)

    def publish(self, packet: Any) -> "Future[Any]":
        self.packets.append(packet)
        future: Future[Any] = Future()
        self.sent.append(future)
        return future

    def acknowledge(self, code: Any) -> None:
        self.sent[-1].set_result(SimpleNamespace(puback=SimpleNamespace(reason_code=code)))

    def succeed(self) -> None:
        self.options["on_lifecycle_connection_success"](None)

    def refuse(self, code: Any) -> None:
        packet = SimpleNamespace(reason_code=code)
        self._fail(packet, "AWS_ERROR_MQTT5_CONNACK_CONNECTION_REFUSED")

    def fail(self, name: str) -> None:
        self._fail(None, name)

    def _fail(self, packet: Any, name: str) -> None:
        data = SimpleNamespace(connack_packet=packet, exception=error(name))
        self.options["on_lifecycle_connection_failure"](data)

    def drop(self, code: Any = None, name: str = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP") -> None:
        packet = None if code is None else SimpleNamespace(reason_code=code)
        data = SimpleNamespace(disconnect_packet=packet, exception=error(name))
        self.options["on_lifecycle_disconnection"](data)


def error(name: str) -> Exception:
    made: Exception = exceptions.AwsCrtError(name=name, message=f"{name} in words", code=1)
    return made


Connect = Callable[[Callable[[Sdk], None]], tuple[Connection, Sdk]]


def handshake(monkeypatch: pytest.MonkeyPatch, outcome: Exception | None) -> None:
    def shake(_: Identity) -> None:
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(diagnosis, "_handshake", shake)
