"""device.delivery.mqtt: what the SDK and the broker say, in words."""

import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from awscrt import exceptions, mqtt_request_response
from awscrt.mqtt5 import ConnectReasonCode, DisconnectReasonCode, PubackReasonCode
from awsiot import iotidentity, mqtt5_client_builder

from device.delivery import diagnosis, mqtt
from device.delivery.mqtt import Connection, Outcome
from device.errors import (
    ConnectionDropped,
    ConnectionFailed,
    ConnectionRefused,
    ExitStatus,
    IdentityError,
    RequestFailed,
    Unreachable,
)
from device.identity import DeviceConfig, Identity


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


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    device = DeviceConfig(
        environment="dev",
        thing_name="sensor-1",
        endpoint="broker.example",
        port=8884,
        certificate_id="c0ffee",
        certificate_arn="arn:aws:iot:eu-central-1:123456789012:cert/c0ffee",
    )
    return Identity(tmp_path, device)


Connect = Callable[[Callable[[Sdk], None]], tuple[Connection, Sdk]]


@pytest.fixture
def connect(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Connect:
    def connected(on_start: Callable[[Sdk], None] = Sdk.succeed) -> tuple[Connection, Sdk]:
        sdk = Sdk(on_start)
        monkeypatch.setattr(mqtt5_client_builder, "mtls_from_path", sdk.build)
        connection = Connection(identity)
        connection.connect()
        return connection, sdk

    return connected


def handshake(monkeypatch: pytest.MonkeyPatch, outcome: Exception | None) -> None:
    def shake(_: Identity) -> None:
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(diagnosis, "_handshake", shake)


def test_connects_as_the_identity_says(connect: Connect, identity: Identity) -> None:
    _, sdk = connect(Sdk.succeed)
    wanted = {
        "endpoint": "broker.example",
        "port": 8884,
        "client_id": "sensor-1",
        "cert_filepath": str(identity.certificate_path),
        "pri_key_filepath": str(identity.key_path),
        "ca_filepath": str(identity.ca_path),
    }
    assert wanted.items() <= sdk.options.items()


def test_the_sdk_knows_every_option_that_it_is_given(connect: Connect) -> None:
    _, sdk = connect(Sdk.succeed)
    documented = f"{mqtt5_client_builder.__doc__}{mqtt5_client_builder.mtls_from_path.__doc__}"
    paths = {"cert_filepath", "pri_key_filepath"}
    assert [
        name for name in sdk.options if f"**{name}**" not in documented and name not in paths
    ] == []


def test_an_acknowledged_message(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"payload")
    assert not answer.done()
    sdk.acknowledge(PubackReasonCode.SUCCESS)
    assert answer.result().outcome is Outcome.ACKNOWLEDGED
    (packet,) = sdk.packets
    assert (packet.topic, packet.payload, packet.qos) == ("a/topic", b"payload", 1)


def test_a_message_that_no_rule_or_subscriber_takes_is_acknowledged(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.acknowledge(PubackReasonCode.NO_MATCHING_SUBSCRIBERS)
    assert answer.result().outcome is Outcome.ACKNOWLEDGED


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (PubackReasonCode.NOT_AUTHORIZED, "not authorized (135): the device's policy does not"),
        (PubackReasonCode.UNSPECIFIED_ERROR, "unspecified error (128)"),
        (None, "for a reason that this SDK does not know"),
    ],
)
def test_a_refused_message_says_why(connect: Connect, code: Any, reason: str) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.acknowledge(code)
    assert answer.result().outcome is Outcome.REFUSED
    assert answer.result().reason.startswith(reason)


def test_a_payload_above_the_limit_is_refused_and_not_sent(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"x" * (mqtt.MAX_PAYLOAD_BYTES + 1))
    assert answer.result().outcome is Outcome.REFUSED
    assert sdk.packets == []


def test_a_packet_above_the_brokers_limit_is_refused(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.sent[-1].set_exception(error("AWS_ERROR_MQTT5_PACKET_VALIDATION"))
    assert answer.result().outcome is Outcome.REFUSED


def test_no_answer_in_time_is_unknown(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.sent[-1].set_exception(error("AWS_ERROR_MQTT_TIMEOUT"))
    assert answer.result() == mqtt.PublishResult(Outcome.UNKNOWN, "no answer within 20 s")


def test_closing_makes_what_is_pending_unknown_even_if_the_sdk_forgets_it(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.sent.clear()
    connection.close()
    connection.close()
    assert answer.result().outcome is Outcome.UNKNOWN
    assert sdk.stopped == 1


def test_nothing_can_be_published_after_closing(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    connection.close()
    with pytest.raises(Unreachable, match="closed"):
        connection.publish("a/topic", b"")
    assert sdk.packets == []


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


def test_a_message_that_comes_while_it_closes_is_unknown(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, sdk = connect(Sdk.succeed)

    def publish(_: Any) -> "Future[Any]":
        connection.close()
        return Future()  # which nobody completes

    monkeypatch.setattr(sdk, "publish", publish)
    assert connection.publish("a/topic", b"").result(1).outcome is Outcome.UNKNOWN


def test_a_connection_that_ends_without_a_word_may_not_be_a_no(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshake(monkeypatch, None)
    with pytest.raises(ConnectionDropped):
        connect(lambda sdk: sdk.fail("AWS_ERROR_MQTT_UNEXPECTED_HANGUP"))
    handshake(monkeypatch, ssl.SSLEOFError("EOF occurred in violation of protocol"))
    with pytest.raises(Unreachable, match="before TLS is set up"):
        connect(lambda sdk: sdk.fail("AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE"))


def test_a_refused_connection_names_the_client_id_and_the_policys_question(
    connect: Connect,
) -> None:
    with pytest.raises(
        ConnectionRefused, match=r"client id sensor-1: not authorized \(135\)"
    ) as caught:
        connect(lambda sdk: sdk.refuse(ConnectReasonCode.NOT_AUTHORIZED))
    assert "run python -m device.provision --env dev sensor-1" in str(caught.value)


@pytest.mark.parametrize(
    ("outcome", "kind", "words"),
    [
        pytest.param(
            ConnectionRefusedError(111, "Connection refused"),
            Unreachable,
            r"nothing answers at broker\.example:8884 \(Connection refused\)",
            id="nothing listens",
        ),
        pytest.param(TimeoutError("timed out"), Unreachable, "timed out", id="silence"),
        pytest.param(
            ssl.SSLCertVerificationError("unable to get local issuer certificate"),
            ConnectionRefused,
            r"not one that .*ca\.pem vouches for",
            id="another CA",
        ),
        pytest.param(ssl.SSLError("handshake failure"), ConnectionRefused, "TLS with", id="TLS"),
        pytest.param(None, ConnectionRefused, "c0ffee is not active, or not known", id="inactive"),
    ],
)
def test_a_connection_that_fails_without_a_word_is_diagnosed(
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Exception | None,
    kind: type[ConnectionFailed],
    words: str,
) -> None:
    handshake(monkeypatch, outcome)
    with pytest.raises(kind, match=words):
        connect(lambda sdk: sdk.fail("AWS_ERROR_MQTT_UNEXPECTED_HANGUP"))


def test_silence_is_bounded(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_TIMEOUT_SECONDS", 0.01)
    handshake(monkeypatch, TimeoutError("timed out"))
    with pytest.raises(Unreachable) as caught:
        connect(lambda _: None)
    assert caught.value.status is ExitStatus.UNREACHABLE


def test_a_broker_that_is_there_but_slow_is_waited_for(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "_SILENCE_SECONDS", 0.01)
    handshake(monkeypatch, None)
    connection, _ = connect(lambda sdk: threading.Timer(0.2, sdk.succeed).start())
    assert connection.failure is None


def test_a_brief_loss_is_no_failure(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    sdk.drop()
    sdk.fail("AWS_IO_SOCKET_CONNECTION_REFUSED")
    sdk.succeed()
    assert connection.failure is None


def test_a_busy_broker_may_let_a_lost_connection_back_in(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    sdk.drop()
    sdk.refuse(ConnectReasonCode.SERVER_BUSY)
    assert connection.failure is None
    sdk.refuse(ConnectReasonCode.NOT_AUTHORIZED)
    assert isinstance(connection.failure, ConnectionRefused)


def test_files_that_tls_cannot_use_are_an_error(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise error("AWS_IO_FILE_VALIDATION_FAILURE")

    monkeypatch.setattr(mqtt5_client_builder, "mtls_from_path", refuse)
    with pytest.raises(IdentityError, match="AWS_IO_FILE_VALIDATION_FAILURE"):
        Connection(identity).connect()


def test_a_loss_that_lasts_is_one(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_RECONNECT_SECONDS", -1.0)
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.drop()
    sdk.fail("AWS_IO_SOCKET_CONNECTION_REFUSED")
    assert isinstance(connection.failure, Unreachable)
    assert answer.result().outcome is Outcome.UNKNOWN
    with pytest.raises(Unreachable):
        connection.publish("a/topic", b"")


def test_a_take_over_is_final_and_says_so(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    sdk.drop(DisconnectReasonCode.SESSION_TAKEN_OVER)
    assert "another client has connected with this client id" in str(connection.failure)
    assert sdk.stopped == 1  # or the two would go on taking over from each other


def test_a_busy_broker_is_not_final(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    sdk.drop(DisconnectReasonCode.SERVER_BUSY)
    assert connection.failure is None


def test_a_broker_that_drops_whatever_is_sent_is_given_up(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    for _ in range(2):
        sdk.drop()
        sdk.succeed()
    assert connection.failure is None
    sdk.drop()
    assert "without an acknowledgement" in str(connection.failure)
    assert isinstance(connection.failure, ConnectionDropped)
    assert answer.result().outcome is Outcome.UNKNOWN
    assert answer.result().hung_up


def test_losses_while_nothing_is_sent_say_nothing_about_the_broker(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    for _ in range(9):
        sdk.drop()
        sdk.succeed()
    assert connection.failure is None


def test_a_network_that_lets_nothing_through_is_not_a_broker_that_hangs_up(
    connect: Connect,
) -> None:
    connection, sdk = connect(Sdk.succeed)
    connection.publish("a/topic", b"")
    for _ in range(9):
        sdk.drop(name="AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT")
        sdk.succeed()
    assert connection.failure is None


@pytest.mark.parametrize(
    "code", [DisconnectReasonCode.PAYLOAD_FORMAT_INVALID, DisconnectReasonCode.PACKET_TOO_LARGE]
)
def test_a_no_to_a_message_is_not_one_to_the_device(code: Any, connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.drop(code)
    assert isinstance(connection.failure, ConnectionDropped)
    assert answer.result().hung_up


@pytest.mark.parametrize(
    "code", [DisconnectReasonCode.SESSION_TAKEN_OVER, DisconnectReasonCode.NOT_AUTHORIZED]
)
def test_a_no_to_the_device_is_not_one_to_its_messages(code: Any, connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.drop(code)
    assert not isinstance(connection.failure, ConnectionDropped)
    assert not answer.result().hung_up


def test_an_acknowledgement_in_between_starts_the_count_anew(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    for _ in range(5):
        sdk.drop()
        sdk.succeed()
        connection.publish("a/topic", b"")
        sdk.acknowledge(PubackReasonCode.SUCCESS)
    assert connection.failure is None


@pytest.mark.parametrize("topic", ["dt/dev/a/b", "$aws/rules/r/" + "x" * 256, "é" * 128])
def test_takes_topics_up_to_the_limit(topic: str) -> None:
    assert mqtt.check_topic(topic) == topic


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0", "x" * 257, "é" * 129])
def test_refuses_other_topics(topic: str) -> None:
    with pytest.raises(ValueError, match="expected a topic"):
        mqtt.check_topic(topic)
