"""What a message is: one JSON Schema file per channel, read and checked once.

``contracts/<channel>.json`` decides the checks on the device and in the parser, the Parquet
schema, the Glue columns and what the simulator sends. This package is part of the Lambda function
and of the device, and imports the standard library only; ``contracts.reading`` needs msgspec.
"""

from contracts.reader import ContractError, channels, load, load_all, parse
from contracts.schema import (
    DIALECT,
    INT64_MAX,
    INT64_MIN,
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    Contract,
    Field,
    Kind,
    Scalar,
    Schema,
    integer_range,
    time_field,
    timestamp_range,
)
from contracts.tables import PARTITION_COLUMNS, REJECTED_FIELDS, ROW_FIELDS

__all__ = [
    "DIALECT",
    "INT64_MAX",
    "INT64_MIN",
    "PARTITION_COLUMNS",
    "REJECTED_FIELDS",
    "ROW_FIELDS",
    "TIMESTAMP_MS_MAX",
    "TIMESTAMP_MS_MIN",
    "Contract",
    "ContractError",
    "Field",
    "Kind",
    "Scalar",
    "Schema",
    "channels",
    "integer_range",
    "load",
    "load_all",
    "parse",
    "time_field",
    "timestamp_range",
]
