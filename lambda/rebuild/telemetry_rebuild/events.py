"""Take an event apart, have its hour rebuilt, and report what became of it.

Knows neither boto3 nor Powertools.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import contracts
from contracts import ContractError
from telemetry_rebuild.hours import Hour, HourError
from telemetry_rebuild.rebuild import Rebuilder, RebuildError, Rebuilt


class NotRebuiltError(RuntimeError):
    """An hour was not rebuilt; the message says no more than is safe to log."""


class HistoryReport(Protocol):
    """Receives reports of what happened; see ``report.PowertoolsReport``."""

    def rebuilt(self, rebuilt: Rebuilt) -> None:
        """An hour's daily objects are in place."""

    def failed(self, channel: object, hour: object, error: Exception) -> None:
        """An hour was not rebuilt."""


def run(event: Mapping[str, Any], rebuilder: Rebuilder, report: HistoryReport) -> dict[str, Any]:
    """Rebuild the hour that ``event`` names, and return its counts.

    Args:
        event: ``channel``, ``hour`` as ``yyyy-MM-ddTHH``, and ``force``, false by default.
        rebuilder: Does it.
        report: Is told.

    Raises:
        NotRebuiltError: The hour was not rebuilt.
    """
    channel, hour = event.get("channel"), event.get("hour")
    try:
        contract = contracts.load(str(channel))
        rebuilt = rebuilder.rebuild(contract, Hour.parse(str(hour)), force=bool(event.get("force")))
    except Exception as error:
        report.failed(channel, hour, error)
        # What an unexpected error says may quote a device's values, and Lambda would log it.
        raise NotRebuiltError(
            f"{channel} {hour}: {reason_of(error) or type(error).__name__}"
        ) from None
    report.rebuilt(rebuilt)
    manifest = rebuilt.manifest
    return {
        "channel": manifest.channel,
        "hour": manifest.hour,
        "unchanged": rebuilt.unchanged,
        "raw_objects": len(manifest.inputs),
        "skipped": len(manifest.skipped),
        "rows": manifest.rows,
        "rejected": manifest.rejected,
        "repeated": manifest.repeated,
        "misdated": manifest.misdated,
    }


def reason_of(error: Exception) -> str | None:
    """What an error of ours says; None for any other, whose text may not be safe to log."""
    return str(error) if isinstance(error, (RebuildError, ContractError, HourError)) else None
