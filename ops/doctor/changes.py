"""Compare what checks find now with what they found before."""

import contextlib
from collections.abc import Sequence

from ops.doctor.context import Context
from ops.doctor.examination import Check
from ops.doctor.findings import Failed, Skipped


class Changes:
    """Runs checks at construction, and again in ``report``.

    Args:
        context: The context of the checks.
        checks: Checks whose failure contains a count or a time, so that a new failure differs.
    """

    def __init__(self, context: Context, checks: Sequence[Check]) -> None:
        self._context = context
        self._before = {check: str(self._failure(check)) for check in checks}

    def report(self) -> None:
        """Run the checks again.

        Raises:
            Failed: The failure of the first check that found something else than before.
        """
        for check, before in self._before.items():
            failure = self._failure(check)
            if failure is not None and str(failure) != before:
                raise Failed(str(failure), failure.remedy)  # stops the caller

    def _failure(self, check: Check) -> Failed | None:
        with contextlib.suppress(Skipped):
            try:
                check(self._context)
            except Failed as failure:
                return failure
        return None
