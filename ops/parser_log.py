"""The log of the parser's function: errors, and what became of each object."""

import contextlib
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


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the log says about objects that were parsed.

    Attributes:
        lines: One per object, the last one about it, with the fields of
            ``telemetry_parser.parser.ParseResult``.
        capped: Reading stopped at its limit, so there may be more.
    """

    lines: tuple[dict[str, Any], ...] = ()
    capped: bool = False


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
    for event in _events(logs, function, "ERROR", since, most):
        yield _read(event["message"], event.get("timestamp", 0))


def parsed(
    logs: "CloudWatchLogsClient",
    function: Mapping[str, Any],
    since: datetime,
    most: int,
) -> Parsed:
    """Read what the log says about objects that were parsed since ``since``.

    Args:
        logs: A client.
        function: The configuration of the function.
        since: Time of the first line.
        most: Lines that are read.
    """
    events = list(_events(logs, function, '{ $.message = "parsed" }', since, most + 1))
    found: dict[str, dict[str, Any]] = {}
    for event in events[:most]:
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(event["message"])
            if isinstance(line, dict) and line.get("message") == "parsed":
                found[str(line.get("raw_key"))] = line
    return Parsed(tuple(found.values()), len(events) > most)


def about(
    logs: "CloudWatchLogsClient",
    function: Mapping[str, Any],
    raw_key: str,
    since: datetime,
    most: int,
) -> Iterator[LoggedError]:
    """Yield up to ``most`` lines that name a raw object, the oldest first.

    Args:
        logs: A client.
        function: The configuration of the function.
        raw_key: Of the object; it has no double quotes.
        since: Time of the first line.
        most: Bounds the time that this takes.
    """
    for event in _events(logs, function, f'"{raw_key}"', since, most):
        yield _read(event["message"], event.get("timestamp", 0))


def _events(
    logs: "CloudWatchLogsClient",
    function: Mapping[str, Any],
    pattern: str,
    since: datetime,
    most: int,
) -> Iterator[dict[str, Any]]:
    group = function.get("LoggingConfig", {}).get(
        "LogGroup", f"/aws/lambda/{function['FunctionName']}"
    )
    return listed(
        logs,
        "filter_log_events",
        "events",
        logGroupName=group,
        filterPattern=pattern,
        startTime=int(since.timestamp() * 1000),
        PaginationConfig={"MaxItems": most},
    )


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
