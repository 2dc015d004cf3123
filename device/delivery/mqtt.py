"""The connection to the broker: MQTT 5, mutual TLS, QoS 1, by the AWS IoT Device SDK.

In ``device``, only this module and ``device.delivery.sdk`` call the SDK, which has no type
information.
"""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from awscrt import mqtt5
from awscrt.exceptions import AwsCrtError

from device.delivery import diagnosis, reasons, sdk
from device.delivery.pacer import Pacer
from device.errors import (
    ConnectionDropped,
    ConnectionFailed,
    ConnectionRefused,
    RequestFailed,
    Unreachable,
)
from device.identity import Identity

# Limits of AWS IoT Core: bytes of a payload, and unacknowledged messages of a client.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
MAX_PAYLOAD_BYTES = 128 * 1024
MAX_UNACKNOWLEDGED = 100

# A broker that is busy may take this long to answer.
CONNECT_TIMEOUT_SECONDS = 30.0
# After this long without an answer, check whether there is a broker at all: the SDK reports a
# failed TLS handshake up to half a minute late.
_SILENCE_SECONDS = 10.0
ACKNOWLEDGEMENT_TIMEOUT_SECONDS = 20
_CLOSE_TIMEOUT_SECONDS = 5.0

# How long a lost connection may take to come back before it counts as gone.
_RECONNECT_SECONDS = 30.0

# If the broker drops the connection this often while messages are in flight, with no
# acknowledgement in between, one of the messages is the cause.
_MAX_DROPS = 3
# This side ended the connection, because the broker did not answer a ping.
_NO_PONG = "AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT"


class PublishOutcome(Enum):
    """What became of a message."""

    ACKNOWLEDGED = "acknowledged"
    """The broker has it, and has handed it to the rules."""
    REFUSED = "refused"
    """The broker refused it, or it exceeds the broker's limits: it did not arrive."""
    UNKNOWN = "unknown"
    """There was no answer: it may or may not have arrived."""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What became of one message.

    Attributes:
        outcome: Of sending it.
        reason: Why; empty if it was acknowledged.
        hung_up: It was in flight when the broker ended the connection, which happened so often
            that one of the messages in flight must be the cause.
    """

    outcome: PublishOutcome
    reason: str = ""
    hung_up: bool = False


ACKNOWLEDGED = PublishResult(PublishOutcome.ACKNOWLEDGED)


class Connection:
    """One device's connection, also as a context manager.

    It reconnects by itself after a brief loss and sends unacknowledged messages again. When the
    broker refuses it, or stays away, the connection is lost for good: ``failure`` says why, and
    every message without an answer becomes ``UNKNOWN``.

    Args:
        identity: Its certificate, client id and broker are used.
        client_id: Use this client id instead, for example to test the policy.
    """

    def __init__(self, identity: Identity, *, client_id: str | None = None) -> None:
        self._identity = identity
        self._client_id = client_id or identity.device.client_id
        self._decided = threading.Event()  # connected once, or will not be
        self._stopped = threading.Event()
        self._connected = False
        self._symptom = "no answer to CONNECT"
        self._failure: ConnectionFailed | None = None
        self._lost_at = 0.0
        self._drops = 0
        self._client: Any = None
        self._pending: set[Future[PublishResult]] = set()
        self._pacer = Pacer()
        self._requests = 0  # that wait for their reply
        self._lock = threading.Lock()  # of _failure, _pending and _requests

    @property
    def failure(self) -> ConnectionFailed | None:
        """Why the connection is lost for good; None while it is not."""
        return self._failure

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Connect, within about ``CONNECT_TIMEOUT_SECONDS``.

        Raises:
            IdentityError: TLS cannot use the identity's files.
            ConnectionRefused: The broker answered with a refusal.
            Unreachable: No broker answered.
        """
        self._client = sdk.build_client(
            self._identity,
            client_id=self._client_id,
            connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS,
            acknowledgement_timeout_seconds=ACKNOWLEDGEMENT_TIMEOUT_SECONDS,
            on_success=self._on_success,
            on_failure=self._on_failure,
            on_disconnection=self._on_disconnection,
            on_stopped=lambda _: self._stopped.set(),
        )
        try:
            self._client.start()
            silence = min(_SILENCE_SECONDS, CONNECT_TIMEOUT_SECONDS)
            if not self._decided.wait(silence):
                failure = diagnosis.find_out(self._identity, self._symptom)
                if not isinstance(failure, ConnectionDropped):
                    self._fail(failure)
                self._decided.wait(CONNECT_TIMEOUT_SECONDS - silence)
            if not self._connected and self._failure is None:
                self._fail(diagnosis.find_out(self._identity, self._symptom))
        except BaseException:  # Ctrl-C too: do not leave the SDK's threads trying
            self.close()
            raise
        if self._failure is not None:
            self.close()
            raise self._failure

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        """Send a message with QoS 1; the result comes from another thread.

        There is always a result. It is ``UNKNOWN`` if there is no answer within
        ``ACKNOWLEDGEMENT_TIMEOUT_SECONDS``, or when the connection is closed first.

        Raises:
            ConnectionFailed: The connection is closed or lost for good; the message was not sent.
        """
        answer: Future[PublishResult] = Future()
        if len(payload) > MAX_PAYLOAD_BYTES:
            reason = f"expected at most {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}"
            answer.set_result(PublishResult(PublishOutcome.REFUSED, reason))
            return answer
        with self._lock:  # another thread may close this at any moment
            client = self._client
            if self._failure is not None:
                raise self._failure
            if client is None:
                raise Unreachable("the connection is closed")
            self._pending.add(answer)
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        size_bytes = len(topic) + len(payload)
        self._pacer.send(size_bytes, lambda: self._send(client, packet, answer))
        return answer

    def _send(self, client: Any, packet: Any, answer: "Future[PublishResult]") -> None:
        if answer not in self._pending:  # the connection was closed before its turn came
            return
        try:
            sent = client.publish(packet)
        except RuntimeError as error:
            self._settle(
                answer, PublishResult(PublishOutcome.REFUSED, f"the SDK rejects it: {error}")
            )
        else:
            sent.add_done_callback(lambda done: self._settle(answer, self._result_of(done)))

    def request(self, operation: str, request: Any) -> Any:
        """Ask AWS IoT's fleet provisioning service, by the SDK's own client.

        Args:
            operation: A method of ``IotIdentityClientV2``, such as ``register_thing``.
            request: What that method takes.

        Returns:
            The response that the SDK has for the operation.

        Raises:
            ConnectionFailed: The connection is closed or lost for good.
            RequestFailed: The service refused, with its ``code``; or no readable answer came.
        """
        with self._lock:
            client = self._client
            if self._failure is not None:
                raise self._failure
            if client is None:
                raise Unreachable("the connection is closed")
            self._requests += 1
        try:
            return sdk.ask_iot_identity(
                client, operation, request, timeout_seconds=ACKNOWLEDGEMENT_TIMEOUT_SECONDS
            )
        except RequestFailed:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            with self._lock:
                self._requests -= 1

    def close(self) -> None:
        """Disconnect; messages without an answer become ``UNKNOWN``. Closing twice is harmless."""
        with self._lock:
            client, self._client = self._client, None
        if client is None:
            return
        client.stop()
        if self._connected:  # else there is nothing to wait for, and it may take long
            self._stopped.wait(_CLOSE_TIMEOUT_SECONDS)
        # The SDK completes the messages that it had when it stopped; others may have come later.
        with self._lock:
            pending = list(self._pending)
        for answer in pending:
            self._settle(answer, self._unanswered())

    def _settle(self, answer: "Future[PublishResult]", result: PublishResult) -> None:
        with self._lock:
            if answer not in self._pending:
                return
            self._pending.remove(answer)
        answer.set_result(result)

    def _result_of(self, done: "Future[Any]") -> PublishResult:
        try:
            code = done.result().puback.reason_code
        except AwsCrtError as error:
            if error.name == "AWS_ERROR_MQTT5_PACKET_VALIDATION":
                reason = "the message is larger than the broker takes"
                return PublishResult(PublishOutcome.REFUSED, reason)
            if error.name == "AWS_ERROR_MQTT_TIMEOUT":
                reason = f"no answer within {ACKNOWLEDGEMENT_TIMEOUT_SECONDS} s"
                return PublishResult(PublishOutcome.UNKNOWN, reason)
            return self._unanswered()
        self._drops = 0
        if code is not None and code < 128:  # success, and "no matching subscribers"
            return ACKNOWLEDGED
        reason = reasons.in_words(code, reasons.PUBLISH_REASONS)
        return PublishResult(PublishOutcome.REFUSED, reason)

    def _unanswered(self) -> PublishResult:
        """What becomes of a message that was in flight when the connection was lost for good."""
        reason = str(self._failure or "the connection was closed")
        hung_up = isinstance(self._failure, ConnectionDropped)
        return PublishResult(PublishOutcome.UNKNOWN, reason, hung_up=hung_up)

    def _on_success(self, _: Any) -> None:
        if self._connected:  # the SDK sends again what was not acknowledged
            self._pacer.hold(len(self._pending))
        self._connected = True
        self._decided.set()

    def _on_failure(self, data: Any) -> None:
        code = data.connack_packet.reason_code if data.connack_packet is not None else None
        if code is not None and not (self._connected and code.name in reasons.TRANSIENT_REASONS):
            self._fail(
                ConnectionRefused(
                    f"the broker refused client id {self._client_id}: "
                    f"{reasons.in_words(code, reasons.CONNECT_REASONS)}",
                    remedy=diagnosis.provision_remedy(self._identity),
                )
            )
        elif not self._connected:
            self._symptom = data.exception.message
            self._decided.set()
        elif time.monotonic() - self._lost_at > _RECONNECT_SECONDS:
            self._fail(
                Unreachable(
                    f"the connection was lost for more than {_RECONNECT_SECONDS:.0f} s: "
                    f"{data.exception.message}",
                    remedy="check the network and firewalls",
                )
            )

    def _on_disconnection(self, data: Any) -> None:
        packet = data.disconnect_packet
        self._lost_at = time.monotonic()
        with self._lock:
            in_flight = bool(self._pending or self._requests)
        if in_flight and data.exception.name != _NO_PONG:
            self._drops += 1
        name = "" if packet is None else getattr(packet.reason_code, "name", "")
        if name in reasons.FINAL_DISCONNECTS:
            reason = reasons.in_words(packet.reason_code, reasons.FINAL_DISCONNECTS)
            about_message = in_flight and name in reasons.MESSAGE_DISCONNECTS
            kind = ConnectionDropped if about_message else ConnectionRefused
            self._fail(kind(f"the broker ended the connection: {reason}"))
        elif self._drops >= _MAX_DROPS:
            self._fail(
                ConnectionDropped(
                    f"the broker ended the connection {self._drops} times without an "
                    "acknowledgement of what was sent",
                    remedy="does the device's policy allow the topic?",
                )
            )

    def _fail(self, failure: ConnectionFailed) -> None:
        with self._lock:
            if self._failure is not None:
                return
            self._failure = failure
        self._decided.set()
        if (
            client := self._client
        ) is not None:  # completes every pending message, and ends reconnecting
            client.stop()
