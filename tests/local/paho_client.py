"""A second, independent MQTT client: paho, with nothing but an identity's folder."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

TIMEOUT_SECONDS = 15


class RefusedError(Exception):
    """The broker said no; the reason code's name."""


class Client:
    """A connected client."""

    def __init__(self, client: mqtt.Client) -> None:
        self._client = client

    def publish(self, topic: str, payload: bytes) -> str:
        """Publish with QoS 1 and return the reason code of the PUBACK."""
        answers: dict[int, str] = {}
        answered = threading.Event()

        def on_publish(_c: object, _u: object, mid: int, reason: object, _p: object) -> None:
            answers[mid] = str(reason)
            answered.set()

        self._client.on_publish = on_publish
        info = self._client.publish(topic, payload, qos=1)
        assert answered.wait(TIMEOUT_SECONDS), "no PUBACK"
        return answers[info.mid]

    def subscribe(self, topic_filter: str) -> str:
        """Subscribe and return the reason code of the SUBACK."""
        answered = threading.Event()
        reasons: list[str] = []

        def on_subscribe(_c: object, _u: object, _m: int, codes: Any, _p: object) -> None:
            reasons.extend(map(str, codes))
            answered.set()

        self._client.on_subscribe = on_subscribe
        self._client.subscribe(topic_filter, qos=1)
        assert answered.wait(TIMEOUT_SECONDS), "no SUBACK"
        return reasons[0]


@contextmanager
def connected(folder: Path, *, client_id: str | None = None) -> Iterator[Client]:
    """Connect with the identity in ``folder``.

    Raises:
        RefusedError: The CONNACK has a reason other than success, or none came.
    """
    device = json.loads((folder / "device.json").read_text())
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id
        or ".".join(filter(None, (device["thing_name"], device.get("customer")))),
        protocol=mqtt.MQTTv5,
    )
    client.tls_set(
        str(folder / "ca.pem"),
        str(folder / "certificate.pem"),
        str(folder / "private.key"),
        tls_version=ssl.PROTOCOL_TLS_CLIENT,
    )
    decided = threading.Event()
    reasons: list[str] = []

    def on_connect(_c: object, _u: object, _f: object, reason: object, _p: object) -> None:
        reasons.append(str(reason))
        decided.set()

    def on_disconnect(_c: object, _u: object, _f: object, reason: object, _p: object) -> None:
        reasons.append(f"disconnected: {reason}")
        decided.set()

    client.on_connect = on_connect
    client.on_disconnect = on_disconnect
    client.connect(device["endpoint"], device["port"])
    client.loop_start()
    try:
        decided.wait(TIMEOUT_SECONDS)
        if reasons[:1] != ["Success"]:
            raise RefusedError(reasons[0] if reasons else "no answer")
        yield Client(client)
    finally:
        client.disconnect()
        client.loop_stop()
