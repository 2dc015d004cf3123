"""Run the state machine that rebuilds hours, and find out which hours failed."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from contracts import names
from device import aws
from device.aws import AwsEnvironment
from device.errors import AwsError, ExitStatus
from ops import times

HOUR = timedelta(hours=1)

# An item has about 60 bytes, and a state's data at most 256 KiB.
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
_MOST_HOURS = 3000

_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FailedHour:
    """An hour that was not rebuilt.

    Attributes:
        hour: Its first moment.
        error: What the function or Step Functions said.
    """

    hour: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one execution.

    Attributes:
        hours: How many were to be rebuilt.
        rebuilt: How many were, those without changes included.
        failed: Those that failed. When too many fail, the rest is not tried.
    """

    hours: int
    rebuilt: int
    failed: tuple[FailedHour, ...]


@dataclass(frozen=True, slots=True)
class HistoryMachine:
    """The state machine of an environment.

    Attributes:
        states: The client of Step Functions.
        arn: Its ARN.
        wait: Called with seconds between two looks at an execution.
    """

    states: Any
    arn: str
    wait: Callable[[float], None] = time.sleep

    def rebuild(
        self,
        channel: str,
        start: datetime,
        end: datetime,
        *,
        force: bool,
        show: Callable[[int], None],
    ) -> Run:
        """Rebuild the hours from ``start`` to ``end``, which is excluded; both are whole hours.

        Args:
            channel: The contract's name.
            start: First moment of the first hour.
            end: First moment after the last one.
            force: Also hours in which nothing has changed.
            show: Called with the number of hours that are done.

        Raises:
            AwsError: The execution did not rebuild any hour, and names no hour that failed.
        """
        request = {
            "from": start.isoformat(),
            "to": end.isoformat(),
            "channels": [channel],
            "force": force,
        }
        execution = self.states.start_execution(
            stateMachineArn=self.arn, input=json.dumps(request)
        )["executionArn"]
        while (found := self.states.describe_execution(executionArn=execution))[
            "status"
        ] == "RUNNING":
            counts = self._map_run(execution).get("itemCounts", {})
            show(counts.get("succeeded", 0) + counts.get("failed", 0))
            self.wait(_POLL_SECONDS)
        run = self._map_run(execution)
        counts = run.get("itemCounts", {})
        failed = tuple(self._failed(run["mapRunArn"])) if counts.get("failed") else ()
        if found["status"] != "SUCCEEDED" and not failed:
            raise AwsError(
                f"expected the execution {execution} to succeed, got {found['status']}: "
                f"{found.get('cause', 'no reason given')}",
                remedy="run the same command again",
            )
        return Run(counts.get("total", 0), counts.get("succeeded", 0), failed)

    def _map_run(self, execution: str) -> dict[str, Any]:
        runs = self.states.list_map_runs(executionArn=execution)["mapRuns"]
        if not runs:
            return {}
        return dict(self.states.describe_map_run(mapRunArn=runs[0]["mapRunArn"]))

    def _failed(self, map_run: str) -> Iterator[FailedHour]:
        found = aws.listed(
            self.states, "list_executions", "executions", mapRunArn=map_run, statusFilter="FAILED"
        )
        for entry in found:
            child = self.states.describe_execution(executionArn=entry["executionArn"])
            hour = datetime.fromisoformat(f"{json.loads(child['input'])['hour']}:00+00:00")
            yield FailedHour(hour, _reason(child.get("error"), child.get("cause")))


def _reason(error: str | None, cause: str | None) -> str:
    """One line: the function's own message, or what Step Functions says."""
    try:
        text = json.loads(cause or "")["errorMessage"]
    except (ValueError, LookupError, TypeError):
        text = cause
    return " ".join(f"{error or ''} {text or ''}".split()) or "no reason given"


def machine_of(opened: AwsEnvironment) -> HistoryMachine:
    """The state machine of an environment.

    Raises:
        AwsError: The deployed stack has none.
    """
    outputs = aws.stack_outputs(opened.client("cloudformation"), opened.name)
    if "HistoryStateMachine" not in outputs:
        raise AwsError(
            f"expected the stack {names.stack_name(opened.name)} with a state machine, got none",
            ExitStatus.NO_STACK,
            remedy=f"run {aws.deploy_command(opened.name)}",
        )
    return HistoryMachine(opened.client("stepfunctions"), outputs["HistoryStateMachine"])


def whole_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The first moment of the first hour that a time touches, and that after the last one.

    Raises:
        click.UsageError: The time does not end after its start.
    """
    start, end = times.span(start, end, end)
    return _floor(start), _floor(end + HOUR - timedelta.resolution)


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hours that a time touches.

    Raises:
        click.UsageError: The time does not end after its start.
    """
    hour, end = whole_hours(start, end)
    while hour < end:
        yield hour
        hour += HOUR


def ranges(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Divide a time into parts that one execution can take."""
    while start < end:
        stop = min(end, start + _MOST_HOURS * HOUR)
        yield start, stop
        start = stop
