"""Requests over MQTT: what AWS IoT's fleet provisioning answers."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from awscrt import mqtt_request_response
from awsiot import iotidentity

from device.delivery.mqtt import Connection
from device.errors import (
    ConnectionDropped,
    RequestFailed,
    Unreachable,
)
from tests.unit.device.delivery.mqtt.sdk import Connect, Sdk, error


class Service:
    """In place of the SDK's client for requests: answers with what it is given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: Any = None

    def __call__(self, _client: object, _options: object) -> "Service":
        return self

    def make_request(self, options: Any) -> "Future[Any]":
        options.validate()
        self.asked = options
        future: Future[Any] = Future()
        if isinstance(self._answer, Exception):
            future.set_exception(self._answer)
        else:
            future.set_result(self._answer)
        return future


TOPIC = "$aws/provisioning-templates/dev_devices/provision/json"


def register(connection: Connection) -> Any:
    request = iotidentity.RegisterThingRequest(
        template_name="dev_devices", certificate_ownership_token="x", parameters={}
    )
    return connection.request("register_thing", request)


def test_a_request_is_answered_with_what_the_service_says(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = connect(Sdk.succeed)
    service = Service(SimpleNamespace(topic=f"{TOPIC}/accepted", payload=b'{"thingName": "a"}'))
    monkeypatch.setattr(mqtt_request_response, "Client", service)
    assert register(connection).thing_name == "a"
    answers = [f"{TOPIC}/accepted", f"{TOPIC}/rejected"]
    assert service.asked.publish_topic == TOPIC
    assert service.asked.subscription_topic_filters == answers
    assert [path.topic for path in service.asked.response_paths] == answers


def test_a_request_that_is_refused_is_an_error_with_the_services_code(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = connect(Sdk.succeed)
    payload = b'{"statusCode": 403, "errorCode": "AccessDenied", "errorMessage": "Denied"}'
    service = Service(SimpleNamespace(topic=f"{TOPIC}/rejected", payload=payload))
    monkeypatch.setattr(mqtt_request_response, "Client", service)
    with pytest.raises(RequestFailed, match="AccessDenied: Denied") as caught:
        register(connection)
    assert caught.value.code == "AccessDenied"


@pytest.mark.parametrize("kind", ["accepted", "rejected"])
@pytest.mark.parametrize("payload", [b"", b"not JSON", b"[]", b'"text"', b"\xff"])
def test_an_answer_that_cannot_be_read_is_an_error(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, kind: str, payload: bytes
) -> None:
    connection, _ = connect(Sdk.succeed)
    service = Service(SimpleNamespace(topic=f"{TOPIC}/{kind}", payload=payload))
    monkeypatch.setattr(mqtt_request_response, "Client", service)
    with pytest.raises(RequestFailed, match="no answer to register_thing"):
        register(connection)


def test_a_request_without_an_answer_is_an_error(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = connect(Sdk.succeed)
    service = Service(error("AWS_ERROR_MQTT_TIMEOUT"))
    monkeypatch.setattr(mqtt_request_response, "Client", service)
    with pytest.raises(RequestFailed, match="no answer to register_thing"):
        register(connection)


def test_a_broker_that_drops_whatever_is_asked_is_given_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, sdk = connect(Sdk.succeed)

    class Dropping(Service):
        def make_request(self, options: Any) -> "Future[Any]":
            for _ in range(3):
                sdk.drop()
            return super().make_request(options)

    service = Dropping(error("AWS_ERROR_MQTT5_USER_REQUESTED_STOP"))
    monkeypatch.setattr(mqtt_request_response, "Client", service)
    with pytest.raises(ConnectionDropped):
        register(connection)


def test_nothing_can_be_requested_after_closing(connect: Connect) -> None:
    connection, _ = connect(Sdk.succeed)
    connection.close()
    with pytest.raises(Unreachable, match="closed"):
        register(connection)
