"""Contracts of CSV files to test, and the rows of these files."""

import io
import json

import contracts
from device.readings import files
from device.readings.csv_rows import CsvOptions, CsvRows
from device.readings.sources import Payload

TELEMETRY = contracts.load("telemetry")


WIND = contracts.parse(
    "wind",
    json.dumps(
        {
            "type": "object",
            "required": ["at", "gust"],
            "properties": {
                "at": {"type": "string", "format": "date-time"},
                "gust": {"type": ["number", "null"]},
                "samples": {"type": "array", "items": {"type": "integer"}},
                "Wind": {
                    "type": "object",
                    "properties": {"speed": {"type": "number"}, "from": {"type": "string"}},
                },
            },
        }
    ),
)


def rows(
    content: bytes, contract: contracts.Contract = TELEMETRY, name: str = "", **options: object
) -> list[tuple[int, object]]:
    file = files.opened(io.BytesIO(content), name, verbatim=False)
    found = CsvRows(file, contract, CsvOptions(**options))  # type: ignore[arg-type]  # each test's own
    return [
        (item.number, json.loads(item.payload) if isinstance(item, Payload) else item.reason)
        for item in found
    ]


NESTED = contracts.parse(
    "nested",
    json.dumps(
        {
            "type": "object",
            "required": ["active", "site"],
            "properties": {
                "active": {"type": "boolean"},
                "site": {
                    "type": "object",
                    "required": ["room"],
                    "properties": {"room": {"type": ["string", "null"]}},
                },
                "wind": {
                    "type": "object",
                    "required": ["gust", "from"],
                    "properties": {
                        "speed": {"type": "number"},
                        "gust": {"type": ["number", "null"]},
                        "from": {
                            "type": "object",
                            "required": ["degrees"],
                            "properties": {"degrees": {"type": ["integer", "null"]}},
                        },
                    },
                },
            },
        }
    ),
)
