"""Report to CloudWatch what happened: one structured log line and one set of metrics per hour.

Nothing that a device sent is reported.
"""

import traceback

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from telemetry_rebuild.events import reason_of
from telemetry_rebuild.rebuild import Rebuilt


class PowertoolsHistoryReport:
    """Logs as JSON, and metrics in CloudWatch's embedded metric format.

    Metrics: ``ObjectsSkipped``, ``RowsWritten``, ``ReadingsRepeated``, ``ReadingsMisdated`` and
    ``RebuildDuration`` of each hour that was rebuilt.
    """

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics

    def rebuilt(self, rebuilt: Rebuilt) -> None:
        """Report an hour whose daily objects are in place."""
        manifest = rebuilt.manifest
        add = self._metrics.add_metric
        # An unreadable object is reported each time, as it stays missing.
        add("ObjectsSkipped", MetricUnit.Count, len(manifest.skipped))
        if not rebuilt.unchanged:
            add("RowsWritten", MetricUnit.Count, manifest.rows)
            add("ReadingsRepeated", MetricUnit.Count, manifest.repeated)
            add("ReadingsMisdated", MetricUnit.Count, manifest.misdated)
        add("RebuildDuration", MetricUnit.Milliseconds, 1000 * rebuilt.seconds)
        self._metrics.flush_metrics()
        self._logger.info(
            "unchanged" if rebuilt.unchanged else "rebuilt",
            extra={
                "channel": manifest.channel,
                "hour": manifest.hour,
                "raw_objects": len(manifest.inputs),
                "skipped": [{"key": one.key, "reason": one.reason} for one in manifest.skipped],
                "rows": manifest.rows,
                "rejected": manifest.rejected,
                "repeated": manifest.repeated,
                "misdated": manifest.misdated,
                "daily_objects": len(manifest.outputs),
                "seconds": rebuilt.seconds,
            },
        )

    def failed(self, channel: object, hour: object, error: Exception) -> None:
        """Report an hour that was not rebuilt."""
        reason = reason_of(error)
        # The place of an unexpected error is safe to log; its text may not be.
        self._logger.error(
            "failed",
            extra={
                "channel": channel,
                "hour": hour,
                "error_type": type(error).__name__,
                "reason": reason,
                "stack": None if reason else traceback.format_tb(error.__traceback__),
            },
        )
