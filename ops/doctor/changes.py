"""What checks find now that they did not find before."""

import contextlib
from collections.abc import Sequence

from ops.doctor.context import Context
from ops.doctor.examination import Check
from ops.doctor.findings import Failed, Skipped


class Changes:
    """Runs checks when it is made, and again later.

    Args:
        context: What the checks examine.
        checks: Checks whose failures count or date what they found.
    """

    def __init__(self, context: Context, checks: Sequence[Check]) -> None:
        self._context = context
        self._before = {check: str(self._failure(check)) for check in checks}

    def report(self) -> None:
        """Run the checks again.

        Raises:
            Failed: A check found something that it did not find before.
        """
        for check, before in self._before.items():
            failure = self._failure(check)
            if failure is not None and str(failure) != before:
                raise Failed(str(failure), failure.remedy)  # which stops the caller

    def _failure(self, check: Check) -> Failed | None:
        with contextlib.suppress(Skipped):
            try:
                check(self._context)
            except Failed as failure:
                return failure
        return None
