"""What a check is, what it can find, and the order in which checks run.

A check is a function of the context: it returns what it saw in a few words, or raises ``Failed``
or ``Skipped``. To add one, write that function and name it in its stage.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from device import aws
from device.errors import DeviceError, ExitStatus
from ops.doctor.context import Context, Skipped


class Failed(Exception):  # noqa: N818  # reads as what happened
    """A hop is broken: what was seen, and the one command or sentence that mends it."""

    def __init__(self, seen: str, mend: str) -> None:
        super().__init__(seen)
        self.mend = mend


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        stage: The stage's name.
        check: The check's name.
        outcome: How it ended.
        detail: What was seen, or why it was skipped.
        mend: The command or sentence that mends it; None unless it failed.
    """

    stage: str
    check: str
    outcome: Outcome
    detail: str
    mend: str | None = None


Check = Callable[[Context], str]


@dataclass(frozen=True, slots=True)
class Stage:
    """Checks that belong together; the first that fails ends the stage.

    Attributes:
        name: One word.
        status: The command's exit status when this is the first stage that failed.
        checks: By name, in order.
        needs: Stages without which this one would only repeat their failure.
    """

    name: str
    status: ExitStatus
    checks: dict[str, Check]
    needs: tuple[str, ...] = ()


def examine(context: Context, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Run every check that can be run, and give each one's finding as soon as it is there."""
    failed: list[str] = []
    for stage in stages:
        obstacle = next((f"{name} failed" for name in stage.needs if name in failed), None)
        for name, check in stage.checks.items():
            if obstacle is not None:
                yield Finding(stage.name, name, Outcome.SKIPPED, obstacle)
                continue
            finding = _run(context, stage.name, name, check)
            yield finding
            if finding.outcome is Outcome.FAILED:
                failed.append(stage.name)
                obstacle = f"{name} failed"


def _run(context: Context, stage: str, name: str, check: Check) -> Finding:
    try:
        # Whatever botocore raises becomes an AwsError, one line with its remedy.
        with aws.explained(context.environment_name):
            return Finding(stage, name, Outcome.OK, check(context))
    except Skipped as reason:
        return Finding(stage, name, Outcome.SKIPPED, str(reason))
    except Failed as failure:
        return Finding(stage, name, Outcome.FAILED, str(failure), failure.mend)
    except DeviceError as error:
        if error.status is ExitStatus.FORBIDDEN:
            return Finding(stage, name, Outcome.SKIPPED, str(error))
        # The form of our errors: "expected …, got …; run …".
        seen, _, mend = str(error).partition("; ")
        return Finding(stage, name, Outcome.FAILED, seen, mend or "mend that, and run this again")
    except Exception as defect:  # the other checks can say something all the same
        seen = f"the check itself failed, on what it did not expect: {defect!r}"
        return Finding(stage, name, Outcome.SKIPPED, seen)
