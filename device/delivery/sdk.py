"""The AWS IoT Device SDK's clients; its builders ignore arguments that they do not know."""

from collections.abc import Callable
from typing import Any

from awscrt import mqtt5, mqtt_request_response
from awscrt.exceptions import AwsCrtError
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder

from device.delivery import diagnosis
from device.errors import IdentityError, RequestFailed
from device.identity import Identity

_NO_FLOW_CONTROL = mqtt5.ExtendedValidationAndFlowControlOptions.NONE

# The SDK reports its own timeout; this is for when it does not.
_ANSWER_MARGIN_SECONDS = 5.0


def build_client(
    identity: Identity,
    *,
    client_id: str,
    connect_timeout_seconds: float,
    acknowledgement_timeout_seconds: int,
    on_success: Callable[[Any], None],
    on_failure: Callable[[Any], None],
    on_disconnection: Callable[[Any], None],
    on_stopped: Callable[[Any], None],
) -> Any:
    """Return an MQTT 5 client that is not started.

    Raises:
        IdentityError: TLS cannot use the identity's files.
    """
    try:
        return mqtt5_client_builder.mtls_from_path(
            cert_filepath=str(identity.certificate_path),
            pri_key_filepath=str(identity.key_path),
            ca_filepath=str(identity.ca_path),
            endpoint=identity.device.endpoint,
            port=identity.device.port,  # the builder's default is 443
            client_id=client_id,
            keep_alive_interval_sec=60,
            ping_timeout_ms=10_000,
            connack_timeout_ms=int(connect_timeout_seconds * 1000),
            ack_timeout_sec=acknowledgement_timeout_seconds,
            # device.delivery.pacer keeps to the limits.
            extended_validation_and_flow_control_options=_NO_FLOW_CONTROL,
            retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
            min_reconnect_delay_ms=500,
            max_reconnect_delay_ms=5_000,
            enable_metrics_collection=False,
            on_lifecycle_connection_success=on_success,
            on_lifecycle_connection_failure=on_failure,
            on_lifecycle_disconnection=on_disconnection,
            on_lifecycle_stopped=on_stopped,
        )
    except (AwsCrtError, RuntimeError) as error:
        raise IdentityError(
            f"expected files that TLS can use in {identity.folder}, got: {error}",
            remedy=diagnosis.provision_remedy(identity),
        ) from None


def ask_iot_identity(client: Any, operation: str, request: Any, *, timeout_seconds: int) -> Any:
    """Call a method of ``IotIdentityClientV2`` and return its response.

    Raises:
        RequestFailed: The service refused, with its ``code``; or no readable answer came.
    """
    options = mqtt_request_response.ClientOptions(
        max_request_response_subscriptions=2,
        max_streaming_subscriptions=0,
        operation_timeout_in_seconds=timeout_seconds,
    )
    # Kept until there is an answer: its requests end with it.
    service = iotidentity.IotIdentityClientV2(client, options)
    try:
        asked = getattr(service, operation)(request)
        return asked.result(timeout_seconds + _ANSWER_MARGIN_SECONDS)
    except (V2ServiceException, TimeoutError) as error:
        raise _request_failed(operation, error) from None


def _request_failed(operation: str, error: Exception) -> RequestFailed:
    refused = getattr(error, "modeled_error", None)
    if refused is None:
        cause = getattr(error, "inner_error", None) or error
        return RequestFailed(f"no answer to {operation}: {cause}")
    failure = RequestFailed(
        f"AWS IoT refuses {operation}: {refused.error_code}: {refused.error_message}"
    )
    failure.code = refused.error_code
    return failure
