"""What an hour's daily table must hold, said a second time with the standard library alone."""

import base64
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from contracts import Contract
from tests.unit.parser.oracle import EPOCH, Misfit, stored


def time_column(contract: Contract) -> str | None:
    """The column with a reading's own time."""
    for field in contract.fields:
        is_time = field.schema.timestamp or field.schema.date_time
        if is_time and field.required and not field.schema.nullable:
            return field.column
    return None


def daily(
    contract: Contract, hour: str, raw: Mapping[str, bytes], retention_days: int
) -> tuple[dict[date, list[dict[str, Any]]], dict[str, int]]:
    """The rows of each day, in order, and the counts of the manifest."""
    parsed = []
    counts = dict.fromkeys(("skipped", "rejected", "repeated", "misdated"), 0)
    for key in sorted(raw):
        try:
            lines = gzip.decompress(raw[key]).split(b"\n")
        except (EOFError, gzip.BadGzipFile):
            counts["skipped"] += 1
            continue
        for number, line in enumerate(lines, start=1):
            if line.strip():
                for row in _rows(contract, line):
                    if row is None:
                        counts["rejected"] += 1
                    else:
                        parsed.append(row | {"raw_key": key, "raw_line": number})

    arrival = datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    midnight = datetime(arrival.year, arrival.month, arrival.day, tzinfo=UTC)
    first, end = midnight - timedelta(days=retention_days), arrival + timedelta(days=1, hours=1)
    time = time_column(contract)
    days = defaultdict(list)
    found: list[tuple[Any, ...]] = []
    for row in sorted(parsed, key=_place):
        own = row[time or "received_at"]
        plausible = first <= own < end
        counts["misdated"] += not plausible
        values = (row["thing_name"], row["customer"], *(row[f.column] for f in contract.fields))
        if time and values in found:
            counts["repeated"] += 1
            continue
        found.append(values)
        days[(own if plausible else arrival).date()].append(row)
    for rows in days.values():
        rows.sort(key=lambda row: (row["thing_name"], row[time or "received_at"], _place(row)))
    return dict(days), counts | {"rows": sum(map(len, days.values()))}


def _place(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["raw_key"], row["raw_line"], row["reading_index"]


def _rows(contract: Contract, line: bytes) -> list[dict[str, Any] | None]:
    """The rows of one raw line; None for each reading that does not fit."""
    try:
        envelope = json.loads(line)
        payload = base64.b64decode(envelope["payload"])
        form = rf"dt/[a-z0-9]+/([a-zA-Z0-9:_-]+)/{contract.channel}(?:/([^/]+))?"
        thing, customer = re.fullmatch(form, envelope["topic"]).groups()  # type: ignore[union-attr]
        readings = json.loads(gzip.decompress(payload) if payload[:2] == b"\x1f\x8b" else payload)
    except (ValueError, TypeError, KeyError, AttributeError):
        return [None]
    rows: list[dict[str, Any] | None] = []
    for index, reading in enumerate(readings if isinstance(readings, list) else [readings]):
        try:
            fields = stored(contract.schema, reading)
        except Misfit:
            rows.append(None)
            continue
        received_at = EPOCH + timedelta(milliseconds=envelope["received_at"])
        place = {"reading_index": index, "received_at": received_at}
        rows.append(fields | place | {"thing_name": thing, "customer": customer})
    return rows
