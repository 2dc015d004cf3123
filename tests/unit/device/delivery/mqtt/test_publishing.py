"""Publishing over MQTT: every message has one result."""

import time
from concurrent.futures import Future
from typing import Any

import pytest
from awscrt.mqtt5 import DisconnectReasonCode, PubackReasonCode

from device.delivery import mqtt, pacer, topics
from device.delivery.mqtt import PublishOutcome
from device.errors import (
    ConnectionDropped,
    Unreachable,
)
from tests.unit.device.delivery.mqtt.sdk import Connect, Sdk, error


def test_an_acknowledged_message(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"payload")
    assert not answer.done()
    sdk.acknowledge(PubackReasonCode.SUCCESS)
    assert answer.result().outcome is PublishOutcome.ACKNOWLEDGED
    (packet,) = sdk.packets
    assert (packet.topic, packet.payload, packet.qos) == ("a/topic", b"payload", 1)


def test_a_message_that_no_rule_or_subscriber_takes_is_acknowledged(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.acknowledge(PubackReasonCode.NO_MATCHING_SUBSCRIBERS)
    assert answer.result().outcome is PublishOutcome.ACKNOWLEDGED


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
    assert answer.result().outcome is PublishOutcome.REFUSED
    assert answer.result().reason.startswith(reason)


def test_a_payload_above_the_limit_is_refused_and_not_sent(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"x" * (mqtt.MAX_PAYLOAD_BYTES + 1))
    assert answer.result().outcome is PublishOutcome.REFUSED
    assert sdk.packets == []


def test_a_packet_above_the_brokers_limit_is_refused(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.sent[-1].set_exception(error("AWS_ERROR_MQTT5_PACKET_VALIDATION"))
    assert answer.result().outcome is PublishOutcome.REFUSED


def test_no_answer_in_time_is_unknown(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.sent[-1].set_exception(error("AWS_ERROR_MQTT_TIMEOUT"))
    assert answer.result() == mqtt.PublishResult(PublishOutcome.UNKNOWN, "no answer within 20 s")


def test_closing_makes_what_is_pending_unknown_even_if_the_sdk_forgets_it(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    answer = connection.publish("a/topic", b"")
    sdk.sent.clear()
    connection.close()
    connection.close()
    assert answer.result().outcome is PublishOutcome.UNKNOWN
    assert sdk.stopped == 1


def test_nothing_can_be_published_after_closing(connect: Connect) -> None:
    connection, sdk = connect(Sdk.succeed)
    connection.close()
    with pytest.raises(Unreachable, match="closed"):
        connection.publish("a/topic", b"")
    assert sdk.packets == []


def test_a_message_that_comes_while_it_closes_is_unknown(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, sdk = connect(Sdk.succeed)

    def publish(_: Any) -> "Future[Any]":
        connection.close()
        return Future()  # which nobody completes

    monkeypatch.setattr(sdk, "publish", publish)
    assert connection.publish("a/topic", b"").result(1).outcome is PublishOutcome.UNKNOWN


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
    assert answer.result().outcome is PublishOutcome.UNKNOWN
    assert answer.result().hung_up


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


@pytest.mark.parametrize(
    "topic", ["dt/dev/a/b", "$aws/rules/r/" + "x" * 256, "é" * 128, "$aws/rules/r/a/b/c/d/e/f/g/h"]
)
def test_takes_topics_up_to_the_limit(topic: str) -> None:
    assert topics.check_topic(topic) == topic


@pytest.mark.parametrize(
    "topic", ["", "a/+", "a/#", "a\0", "x" * 257, "é" * 129, "a/b/c/d/e/f/g/h/i"]
)
def test_refuses_other_topics(topic: str) -> None:
    with pytest.raises(ValueError, match="expected a topic"):
        topics.check_topic(topic)


def test_a_message_whose_turn_has_not_come_when_the_connection_closes_is_unknown_and_not_sent(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, sdk = connect(Sdk.succeed)
    monkeypatch.setattr(pacer, "_SECONDS_PER_MESSAGE", 0.1)
    answers = [connection.publish("a/topic", b"") for _ in range(5)]
    connection.close()
    assert [answer.result(1).outcome for answer in answers] == [PublishOutcome.UNKNOWN] * 5
    sent = len(sdk.packets)
    time.sleep(0.3)  # their turn comes
    assert len(sdk.packets) == sent < 5
