"""ops.tap subscribes: what the broker and the SDK answer becomes one clear line."""

from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from awsiot import mqtt5_client_builder

from device.aws import AwsEnvironment
from device.errors import ConnectionRefused, Unreachable
from ops.tap import broker
from ops.tap.broker import Subscription
from tests.unit.device.fakes import ACCOUNT, REGION

REFUSED = SimpleNamespace(name="NOT_AUTHORIZED")


class FakeClient:
    """The SDK's client: ``start`` gives the answers of a broker."""

    def __init__(self, script: Any, **arguments: Any) -> None:
        self.arguments = arguments
        self._script = script
        self.subscribed: list[list[str]] = []
        self.codes: tuple[int, ...] = (1, 1)
        self.stopped = False

    def start(self) -> None:
        self._script(self)

    def connect(self) -> None:
        self.arguments["on_lifecycle_connection_success"](None)

    def refuse(self, packet: object, message: str) -> None:
        data = SimpleNamespace(connack_packet=packet, exception=SimpleNamespace(message=message))
        self.arguments["on_lifecycle_connection_failure"](data)

    def publish(self, topic: str, payload: bytes | None) -> None:
        packet = SimpleNamespace(topic=topic, payload=payload)
        self.arguments["on_publish_received"](SimpleNamespace(publish_packet=packet))

    def subscribe(self, packet: Any) -> "Future[Any]":
        self.subscribed.append([one.topic_filter for one in packet.subscriptions])
        answer: Future[Any] = Future()
        codes = [_Code(code) for code in self.codes]
        answer.set_result(SimpleNamespace(reason_codes=codes))
        return answer

    def stop(self) -> None:
        self.stopped = True
        self.arguments["on_lifecycle_stopped"](None)


class _Code(int):
    name = "NOT_AUTHORIZED"


class Session:
    def client(self, _: str) -> Any:
        return self

    def describe_endpoint(self, **_: str) -> dict[str, str]:
        return {"endpointAddress": "broker.example"}


def subscription(
    monkeypatch: pytest.MonkeyPatch, script: Any, received: list[Any]
) -> tuple[Subscription, list[FakeClient]]:
    clients: list[FakeClient] = []

    def build(_signer: object, **arguments: Any) -> FakeClient:
        clients.append(FakeClient(script, **arguments))
        return clients[0]

    monkeypatch.setattr(mqtt5_client_builder, "websockets_with_custom_handshake", build)
    monkeypatch.setattr(broker, "_CONNECT_TIMEOUT_SECONDS", 0.05)
    opened = AwsEnvironment("dev", cast("Any", Session()), ACCOUNT, REGION, Path())
    take = lambda topic, payload: received.append((topic, payload))  # noqa: E731  # it is short
    return Subscription(opened, ["a", "a/+"], take), clients


def test_messages_are_handed_on_and_each_connection_subscribes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[Any] = []
    tried, clients = subscription(monkeypatch, FakeClient.connect, received)
    with tried:
        (client,) = clients
        client.publish("a", b"1")
        client.connect()
        client.publish("a/b", None)
        assert client.subscribed == [["a", "a/+"]] * 2
    assert received == [("a", b"1"), ("a/b", b"")]
    assert client.stopped
    assert client.arguments["endpoint"] == "broker.example"
    assert client.arguments["port"] == 443
    assert client.arguments["client_id"].startswith("tap-")


def test_a_refused_subscription_names_the_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(client: FakeClient) -> None:
        client.codes = (1, 135)
        client.connect()

    tried, clients = subscription(monkeypatch, script, [])
    with pytest.raises(ConnectionRefused, match=r"NOT_AUTHORIZED; .*iot:Subscribe"):
        tried.__enter__()
    assert clients[0].stopped


def test_a_refused_connection_names_the_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    packet = SimpleNamespace(reason_code=REFUSED)
    tried, clients = subscription(monkeypatch, lambda client: client.refuse(packet, "no"), [])
    with pytest.raises(ConnectionRefused, match=r"NOT_AUTHORIZED; .*iot:Connect"):
        tried.__enter__()
    assert clients[0].stopped


def test_no_connection_says_what_the_sdk_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, clients = subscription(
        monkeypatch, lambda client: client.refuse(None, "handshake failed: 403"), []
    )
    with pytest.raises(Unreachable, match="handshake failed: 403"):
        tried.__enter__()
    assert clients[0].stopped
