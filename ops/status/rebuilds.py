"""The last rebuild of history, as Step Functions reports it."""

from typing import Any

from ops.status.model import Rebuild

_MOST_EXECUTIONS = 20


def last_rebuild(stepfunctions: Any, state_machine: str | None) -> Rebuild | None:
    """The newest execution of the state machine; None if there is none."""
    if state_machine is None:
        return None
    executions = stepfunctions.list_executions(
        stateMachineArn=state_machine, maxResults=_MOST_EXECUTIONS
    )["executions"]
    if not executions:
        return None
    executions.sort(key=lambda each: each["startDate"], reverse=True)
    newest = executions[0]
    hours, failed = _hours(stepfunctions, newest["executionArn"])
    return Rebuild(
        execution=newest["executionArn"],
        status=newest["status"],
        started=newest["startDate"],
        ended=newest.get("stopDate"),
        hours=hours,
        hours_failed=failed,
        succeeded=next(
            (each["stopDate"] for each in executions if each["status"] == "SUCCEEDED"), None
        ),
    )


def _hours(stepfunctions: Any, execution: str) -> tuple[int | None, int]:
    """How many hours the execution was to rebuild, and how many failed."""
    runs = stepfunctions.list_map_runs(executionArn=execution)["mapRuns"]
    if not runs:
        return None, 0
    counts = [
        stepfunctions.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"] for run in runs
    ]
    return sum(each["total"] for each in counts), sum(each["failed"] for each in counts)
