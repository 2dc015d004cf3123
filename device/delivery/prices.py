"""What AWS charges for a message on its way from a device to the raw bucket, and for parsing it.

US dollars, us-east-1, read on 22 November 2026 at

- https://aws.amazon.com/iot-core/pricing/ (messages, rules)
- https://aws.amazon.com/iot-core/pricing/additional-details/ (what is metered: payload and topic)
- https://aws.amazon.com/firehose/pricing/ (Direct PUT, each record rounded up to 5 KB)
- https://aws.amazon.com/lambda/pricing/ (Arm, the first 7.5 billion GB-seconds of a month)

Storage and requests are not included; packing does not make them cost more.
"""

METERING_UNIT_BYTES = 5 * 1024

MESSAGE_USD = 1.00 / 1_000_000
"""A metering unit of a message to the broker; with Basic Ingest there is no such charge."""
RULE_USD = 0.15 / 1_000_000
"""A metering unit of a message that triggers a rule."""
ACTION_USD = 0.15 / 1_000_000
"""A metering unit of a message that a rule's action handles."""
FIREHOSE_USD = 0.029 / 1_000_000 * 5
"""5 KB of a Firehose record: $0.029 a GB."""
LAMBDA_GB_SECOND_USD = 0.0000133334
"""A second of a function with 1 GB of memory."""

# What the rule's envelope adds to the payload's base64: its keys, ids, topic and client id.
_ENVELOPE_BYTES = 400

_BASIC_INGEST = "$aws/rules/"


def units(topic: str, payload_bytes: int) -> int:
    """How many metering units a message is: payload and topic, in steps of 5 KB."""
    return _steps(len(topic.encode("utf-8", "surrogateescape")) + payload_bytes)


def message_usd(topic: str, payload_bytes: int) -> float:
    """What a message of ``payload_bytes`` to ``topic`` costs up to the raw bucket."""
    per_unit = RULE_USD + ACTION_USD
    if not topic.startswith(_BASIC_INGEST):
        per_unit += MESSAGE_USD
    record_bytes = -(-payload_bytes // 3) * 4 + _ENVELOPE_BYTES
    return units(topic, payload_bytes) * per_unit + _steps(record_bytes) * FIREHOSE_USD


def _steps(size: int) -> int:
    return max(1, -(-size // METERING_UNIT_BYTES))
