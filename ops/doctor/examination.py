"""Run the checks of all stages, in order.

A check is a function of the context. It returns a few words about what it saw, or raises ``Failed``
or ``Skipped``. To add a check, write that function and name it in its stage.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from device import aws
from device.errors import DeviceError, ExitStatus
from ops.doctor.context import Context
from ops.doctor.findings import CheckOutcome, Failed, Finding, Skipped

Check = Callable[[Context], str]


@dataclass(frozen=True, slots=True)
class Stage:
    """Checks that belong together. The first failure that blocks ends the stage.

    Attributes:
        name: One word.
        status: The command's exit status when this is the first stage that failed.
        checks: The checks by name, in order.
        needs: Stages without which this one would only repeat their failure.
    """

    name: str
    status: ExitStatus
    checks: dict[str, Check]
    needs: tuple[str, ...] = ()


def examine(context: Context, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Run every check that can run, and yield each finding as soon as it is known."""
    blocked: set[str] = set()
    for stage in stages:
        obstacle = next((f"{name} failed" for name in stage.needs if name in blocked), None)
        for name, check in stage.checks.items():
            if obstacle is not None:
                yield Finding(stage.name, name, CheckOutcome.SKIPPED, obstacle)
                continue
            finding, blocks = _run(context, stage.name, name, check)
            yield finding
            if blocks:
                blocked.add(stage.name)
                obstacle = f"{name} failed"


def _run(context: Context, stage: str, name: str, check: Check) -> tuple[Finding, bool]:
    """Run one check; return its finding, and whether it blocks."""
    try:
        # Turns an error of botocore into an AwsError: one line, with a remedy.
        with aws.explained(context.environment_name):
            return Finding(stage, name, CheckOutcome.OK, check(context)), False
    except Skipped as reason:
        return Finding(stage, name, CheckOutcome.SKIPPED, str(reason)), False
    except Failed as failure:
        failed = Finding(stage, name, CheckOutcome.FAILED, str(failure), failure.remedy)
        return failed, failure.blocks
    except DeviceError as error:
        if error.status is ExitStatus.FORBIDDEN:
            return Finding(stage, name, CheckOutcome.SKIPPED, str(error)), False
        remedy = error.remedy or "fix that, and run this again"
        return Finding(stage, name, CheckOutcome.FAILED, error.message, remedy), True
    except Exception as defect:  # the other checks may still find something
        seen = f"the check itself failed unexpectedly: {defect!r}"
        return Finding(stage, name, CheckOutcome.SKIPPED, seen), False


def first_status(findings: Sequence[Finding], stages: Sequence[Stage]) -> ExitStatus:
    """The exit status: that of the first stage that failed."""
    failed = {finding.stage for finding in findings if finding.outcome is CheckOutcome.FAILED}
    return next((stage.status for stage in stages if stage.name in failed), ExitStatus.OK)
