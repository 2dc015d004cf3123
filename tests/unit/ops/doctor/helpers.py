"""Run single checks and stages."""

from device.errors import ExitStatus
from ops.doctor.context import Context
from ops.doctor.examination import Check, Stage, examine
from ops.doctor.findings import CheckOutcome, Finding


def failures(context: Context, *stages: Stage) -> list[Finding]:
    return [found for found in examine(context, stages) if found.outcome is CheckOutcome.FAILED]


def result(context: Context, check: Check) -> Finding:
    (found,) = examine(context, [Stage("stage", ExitStatus.RULE, {"check": check})])
    return found
