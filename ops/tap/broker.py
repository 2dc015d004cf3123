"""Subscribe to topics with AWS credentials: MQTT 5 over WebSocket, signed with SigV4."""

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from awscrt import auth, mqtt5
from awsiot import mqtt5_client_builder

from device import aws, local_stack
from device.aws import AwsEnvironment
from device.errors import ConnectionRefused, Unreachable

_CONNECT_TIMEOUT_SECONDS = 15.0
_CLOSE_TIMEOUT_SECONDS = 5.0


class Subscription:
    """Receives what is published on some topics; a context manager.

    It connects again by itself after a loss, and then subscribes again; what is published in
    between is not received.

    Args:
        opened: The environment; its credentials are used.
        topic_filters: What to subscribe to.
        received: Called in another thread with topic and payload.
    """

    def __init__(
        self,
        opened: AwsEnvironment,
        topic_filters: Sequence[str],
        received: Callable[[str, bytes], None],
    ) -> None:
        self._opened = opened
        self._filters = [
            mqtt5.Subscription(topic_filter, mqtt5.QoS.AT_LEAST_ONCE)
            for topic_filter in topic_filters
        ]
        self._received = received
        self._decided = threading.Event()
        self._stopped = threading.Event()
        self._symptom = f"no answer within {_CONNECT_TIMEOUT_SECONDS:.0f} s"
        self._refusal: str | None = None
        self._subscribed = False
        self._client: Any = None

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises:
            ConnectionRefused: The credentials do not permit it.
            Unreachable: There is no connection.
        """
        self._client = self._build()
        self._client.start()
        self._decided.wait(_CONNECT_TIMEOUT_SECONDS)
        if self._subscribed:
            return self
        self.__exit__()
        if self._refusal is not None:
            raise ConnectionRefused(
                f"the broker refuses the subscription: {self._refusal}",
                remedy="the credentials need iot:Connect, iot:Subscribe and iot:Receive",
            )
        raise Unreachable(f"no MQTT connection over WebSocket: {self._symptom}")

    def __exit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.stop()
            self._stopped.wait(_CLOSE_TIMEOUT_SECONDS)

    def _build(self) -> Any:
        with aws.explained(self._opened.name):
            found = self._opened.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
        address = str(found["endpointAddress"])
        host, port, more = address, 443, {}
        if self._opened.name == aws.LOCAL:
            # The emulator tells a broker's requests by their Host header.
            url, ca_file = local_stack.gateway(self._opened.root)
            split = urlsplit(url)
            host, port, more = split.hostname or "", split.port or 443, {"ca_filepath": ca_file}
        return mqtt5_client_builder.websockets_with_custom_handshake(
            self._signer(address),
            endpoint=host,
            port=port,
            client_id=f"tap-{secrets.token_hex(8)}",
            connack_timeout_ms=int(_CONNECT_TIMEOUT_SECONDS * 1000),
            enable_metrics_collection=False,
            on_publish_received=self._on_publish,
            on_lifecycle_connection_success=self._on_success,
            on_lifecycle_connection_failure=self._on_failure,
            on_lifecycle_stopped=lambda _: self._stopped.set(),
            **more,
        )

    def _signer(self, address: str) -> Callable[..., None]:
        """Sign the handshake as the SDK does by itself, but for ``address`` as the host."""
        credentials = auth.AwsCredentialsProvider.new_delegate(self._credentials)

        # The SDK passes the argument by this name.
        def sign(transform_args: Any, **_: Any) -> None:
            try:
                transform_args.http_request.headers.set("Host", address)
                config = auth.AwsSigningConfig(
                    algorithm=auth.AwsSigningAlgorithm.V4,
                    signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
                    credentials_provider=credentials,
                    region=self._opened.region,
                    service="iotdevicegateway",
                    omit_session_token=True,  # IoT Core does not sign the token
                )
                signed = auth.aws_sign_request(transform_args.http_request, config)
                signed.add_done_callback(lambda done: transform_args.set_done(done.exception()))
            except Exception as error:
                transform_args.set_done(error)

        return sign

    def _credentials(self) -> Any:
        """The credentials of this moment; temporary ones are renewed by boto3."""
        own = self._opened.session.get_credentials()
        if own is None:
            raise RuntimeError("no AWS credentials")
        frozen = own.get_frozen_credentials()
        return auth.AwsCredentials(frozen.access_key, frozen.secret_key, frozen.token)

    def _on_publish(self, data: Any) -> None:
        packet = data.publish_packet
        self._received(packet.topic, packet.payload or b"")

    def _on_success(self, _: Any) -> None:
        client = self._client
        if client is None:
            return
        packet = mqtt5.SubscribePacket(self._filters)
        client.subscribe(packet).add_done_callback(self._on_subscribed)

    def _on_subscribed(self, done: Any) -> None:
        error = done.exception()
        if error is not None:
            self._symptom = str(error)
        else:
            refused = [code for code in done.result().reason_codes if code >= 128]
            self._refusal = refused[0].name if refused else None
            self._subscribed = not refused
        self._decided.set()

    def _on_failure(self, data: Any) -> None:
        packet = data.connack_packet
        if packet is not None:
            self._refusal = getattr(packet.reason_code, "name", str(packet.reason_code))
            self._decided.set()
        self._symptom = data.exception.message
