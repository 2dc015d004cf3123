"""Connecting, and losing the connection: what the SDK and the broker say, in words."""

import ssl
import threading

import pytest
from awscrt.mqtt5 import ConnectReasonCode, DisconnectReasonCode
from awsiot import mqtt5_client_builder

from device.delivery import mqtt
from device.delivery.mqtt import Connection, PublishOutcome
from device.errors import (
    ConnectionDropped,
    ConnectionFailed,
    ConnectionRefused,
    ExitStatus,
    IdentityError,
    Unreachable,
)
from device.identity import Identity
from tests.unit.device.delivery.mqtt.sdk import Connect, Sdk, error, handshake


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
            r"not signed by a CA in .*ca\.pem",
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
    assert answer.result().outcome is PublishOutcome.UNKNOWN
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
