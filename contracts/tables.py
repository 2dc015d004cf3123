"""The columns that the pipeline adds to the tables of every channel."""

from typing import Any

from contracts.schema import Field, Kind, Schema


def _row(name: str, kind: Kind, description: str, **more: Any) -> Field:
    return Field(name, Schema(kind=kind, description=description, **more), required=True)


# What the pipeline adds to every parsed row, after the contract's own fields.
ROW_FIELDS: tuple[Field, ...] = (
    _row("thing_name", "string", "The device, as its policy guarantees: the topic's third level."),
    _row("topic", "string", "The MQTT topic, without Basic Ingest's prefix."),
    _row("client_id", "string", "The MQTT client id.", nullable=True),
    _row("certificate_id", "string", "The device's certificate.", nullable=True),
    _row("received_at", "integer", "When AWS IoT Core received the message.", timestamp="ms"),
    _row("trace_id", "string", "AWS IoT Core's id of the message, as in its logs.", nullable=True),
    _row("raw_key", "string", "The object in the raw bucket that holds the message."),
    _row("raw_line", "integer", "Line of the message in that object, from 1."),
    _row("reading_index", "integer", "Place of the reading in its message, from 0."),
    _row("reading_id", "string", "Hash of topic, payload and place; a redelivery has the same."),
)

# One line of a rejected object.
REJECTED_FIELDS: tuple[Field, ...] = (
    _row("reason", "string", "What was expected and found, without the device's values."),
    _row("path", "string", "JSON path of the first violation.", nullable=True),
    _row("thing_name", "string", "The device; null if the topic does not tell.", nullable=True),
    _row(
        "received_at",
        "integer",
        "When AWS IoT Core received the message; null if the line does not tell.",
        timestamp="ms",
        nullable=True,
    ),
    _row("raw_key", "string", "The object in the raw bucket that holds the message."),
    _row("raw_line", "integer", "Line of the message in that object, from 1."),
    _row("reading_index", "integer", "Place in its message, from 0; null: all.", nullable=True),
    _row("line", "string", "The raw line, base64."),
)

# Both tables are partitioned by the UTC hour in which the batch arrived.
PARTITION_COLUMNS = ("dt", "hour")
