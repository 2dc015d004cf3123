"""What the reason codes of MQTT 5 mean when AWS IoT Core sends them."""

from typing import Any

# Other codes need no explanation.
# https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html#mqtt5-reason-codes
CONNECT_REASONS = {
    "BAD_USERNAME_OR_PASSWORD": "the certificate is not known to the broker or not active",
    "BANNED": "this client has been banned",
    "CLIENT_IDENTIFIER_NOT_VALID": "the broker does not accept this client id",
    "CONNECTION_RATE_EXCEEDED": "this client connects too often; wait a minute",
    "NOT_AUTHORIZED": (
        "the policy does not allow this client id: it must be the thing's name (a customer's: "
        "{thing}.{customer}), and the certificate must be attached to that thing and to its policy"
    ),
    "QUOTA_EXCEEDED": "the account has reached a limit of AWS IoT Core",
    "SERVER_BUSY": "the broker is busy; try again later",
    "SERVER_UNAVAILABLE": "the broker is not available; try again later",
}
# After these, a connection that was lost may come back.
TRANSIENT_REASONS = {
    "CONNECTION_RATE_EXCEEDED",
    "QUOTA_EXCEEDED",
    "SERVER_BUSY",
    "SERVER_UNAVAILABLE",
}
PUBLISH_REASONS = {
    "NOT_AUTHORIZED": "the device's policy does not allow this topic",
    "PAYLOAD_FORMAT_INVALID": "the payload is not what the message says it is",
    "QUOTA_EXCEEDED": "a limit of AWS IoT Core is reached",
    "TOPIC_NAME_INVALID": "the broker does not accept this topic",
}
# If a message is in flight, these are about the message.
MESSAGE_DISCONNECTS = {
    "MALFORMED_PACKET": "it does not understand what was sent",
    "PACKET_TOO_LARGE": "a message is larger than the broker takes",
    "PAYLOAD_FORMAT_INVALID": "a payload is not what the message says it is",
    "PROTOCOL_ERROR": "it does not understand what was sent",
    "TOPIC_NAME_INVALID": "the broker does not accept this topic",
}
# After these, another connection would end in the same way.
FINAL_DISCONNECTS = {
    **MESSAGE_DISCONNECTS,
    "ADMINISTRATIVE_ACTION": "an operator ended the connection",
    "NOT_AUTHORIZED": "the device's policy does not allow what was sent, or its certificate was "
    "deactivated",
    "SESSION_TAKEN_OVER": "another client has connected with this client id; is the same identity "
    "in use elsewhere?",
}


def in_words(code: Any, known: dict[str, str]) -> str:
    """Return ``code``, of one of the SDK's enumerations, in words; None is an unknown code."""
    if code is None:
        return "for a reason that this SDK does not know"
    text = f"{code.name.lower().replace('_', ' ')} ({int(code)})"
    return f"{text}: {known[code.name]}" if code.name in known else text
