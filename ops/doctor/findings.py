"""The results of a check."""

from dataclasses import dataclass
from enum import StrEnum


class Skipped(Exception):  # noqa: N818  # reads as what happened
    """The check cannot examine anything here; the message says why."""


class Failed(Exception):  # noqa: N818  # reads as what happened
    """Something is broken.

    Args:
        seen: What the check saw.
        remedy: The command or sentence that fixes it.
        blocks: Whether later checks that depend on this one cannot succeed. False for an earlier
            failure: the hop may work again.
    """

    def __init__(self, seen: str, remedy: str, *, blocks: bool = True) -> None:
        super().__init__(seen)
        self.remedy = remedy
        self.blocks = blocks


class CheckOutcome(StrEnum):
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
        outcome: How the check ended.
        detail: What the check saw, or why it was skipped.
        remedy: The command or sentence that fixes it; None unless the check failed.
    """

    stage: str
    check: str
    outcome: CheckOutcome
    detail: str
    remedy: str | None = None
