"""The Lambda function that tells of things that fell silent, and when they are back.

EventBridge starts it every hour. Settings are read and clients are made when this module is
imported; nothing else has such side effects.

| variable | value |
|---|---|
| `PARSED_BUCKET` | bucket of the `parsed/` objects, and of what is kept between runs |
| `EXPECTED_SECONDS` | JSON object: channel → the contract's `x-expected-every` |
| `TOPIC_ARN` | where it tells it; without it, only the log has it |
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
import msgspec
from aws_lambda_powertools.logging import Logger

from telemetry_parser.settings import required
from telemetry_rebuild.objects import HistoryObjects
from telemetry_rebuild.silence import judge
from telemetry_rebuild.silence_lake import SilenceLake

# A message is at most 256 KiB, and a mail with more names helps nobody.
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
_MOST_NAMES = 500

_expected = msgspec.json.decode(required(os.environ, "EXPECTED_SECONDS"), type=dict[str, int])
_topic_arn = os.environ.get("TOPIC_ARN")
_lake = SilenceLake(HistoryObjects(boto3.client("s3")), required(os.environ, "PARSED_BUCKET"))
_sns = boto3.client("sns")
_logger = Logger()


@_logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> None:  # noqa: ARG001  # Lambda's signature
    """Look at every channel, at the ``time`` of EventBridge's event."""
    now = round(datetime.fromisoformat(event["time"]).timestamp() * 1000)
    for channel, seconds in _expected.items():
        state = _lake.state(channel)
        since = None if state is None else state.until
        arrivals = _lake.arrivals(channel, since=since, now=now)
        change = judge(state, arrivals, now=now, expected=1000 * seconds)
        _tell(channel, "fell silent", "fell silent", change.silent)
        _tell(channel, "is back", "are back", change.back)
        # Last: a run that fails tells it again rather than never.
        _lake.keep(channel, change.state)
        _logger.info(
            "watched",
            extra={
                "channel": channel,
                "things": len(change.state.things),
                "silent": sum(thing.silent for thing in change.state.things.values()),
                "fell_silent": len(change.silent),
                "back": len(change.back),
            },
        )


def _tell(channel: str, one: str, many: str, things: Mapping[str, int]) -> None:
    if not things or not _topic_arn:
        return
    lines = [
        f"{name}: newest message at {_utc(newest)}"
        for name, newest in list(things.items())[:_MOST_NAMES]
    ]
    if len(things) > _MOST_NAMES:
        lines.append(f"and {len(things) - _MOST_NAMES} more")
    _sns.publish(
        TopicArn=_topic_arn,
        Subject=f"{channel}: "
        + (f"1 device {one}" if len(things) == 1 else f"{len(things)} devices {many}"),
        Message="\n".join([*lines, "", "See docs/runbook.md#devices-that-fell-silent"]),
    )


def _utc(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
