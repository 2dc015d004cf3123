"""The errors in the log of the parser's function."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from device.aws import listed

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_logs import CloudWatchLogsClient

_MOST_EVENTS = 1000
_MOST_CHARACTERS = 300
_TEXTS = ("message", "error_type", "errorType", "reason", "errorMessage")


@dataclass(frozen=True, slots=True)
class LoggedError:
    """An error in the log.

    Attributes:
        time: When it was logged.
        text: What the log says, in short.
        sqs_message_id: The id of the SQS message that failed; None if the log does not name it.
    """

    time: datetime
    text: str
    sqs_message_id: str | None


def errors(
    logs: "CloudWatchLogsClient",
    function: Mapping[str, Any],
    since: datetime,
    most: int = _MOST_EVENTS,
) -> Iterator[LoggedError]:
    """Yield up to ``most`` errors since ``since``, the oldest first.

    Args:
        logs: A client.
        function: The configuration of the function.
        since: Time of the first error.
        most: Bounds the time that this takes.
    """
    group = function.get("LoggingConfig", {}).get(
        "LogGroup", f"/aws/lambda/{function['FunctionName']}"
    )
    for event in listed(
        logs,
        "filter_log_events",
        "events",
        logGroupName=group,
        filterPattern="ERROR",
        startTime=int(since.timestamp() * 1000),
        PaginationConfig={"MaxItems": most},
    ):
        yield _read(event["message"], event.get("timestamp", 0))


def _read(message: str, milliseconds: int) -> LoggedError:
    try:
        content = json.loads(message)
        parts = [content[key] for key in _TEXTS if content.get(key)]
        message_id = content.get("sqs_message_id")
    except (ValueError, AttributeError):
        parts, message_id = [], None
    text = " ".join((" ".join(map(str, parts)) or message).split())[:_MOST_CHARACTERS]
    time = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return LoggedError(time, text, message_id if isinstance(message_id, str) else None)
