"""Readings that did not fit the contract."""

from collections import Counter
from datetime import datetime
from itertools import islice

from device import cli
from device.errors import ExitStatus
from ops import raw_lines
from ops.doctor import buckets
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed


def rejected(context: Context) -> str:
    """No reading of this device was rejected in the last 24 hours."""
    reasons: Counter[str] = Counter()
    newest: datetime | None = None
    prefix = f"rejected/{context.channel}/"
    recent = buckets.newest(context, context.deployed.parsed_bucket, prefix)
    for found in islice(recent, buckets.MOST_OBJECTS):
        for line in buckets.json_lines(context, found):
            topic = raw_lines.envelope_of(line["line"]).get("topic")
            if raw_lines.thing_of(topic) == context.thing_name:
                reasons[f"{line['path'] or '$'}: {line['reason']}"] += 1
                newest = newest or found.modified
    if newest is None:
        return "none of this device in the last 24 h"
    top = "; ".join(f"{count} of {reason}" for reason, count in reasons.most_common(3))
    raise Failed(
        f"readings of this device were rejected, {reasons.total()} in the last 24 h and the "
        f"newest at {cli.utc(newest)}: {top}",
        f"send what contracts/{context.channel}.json allows",
    )


STAGE = Stage("readings", ExitStatus.INVALID, {"rejected": rejected}, needs=("environment",))
