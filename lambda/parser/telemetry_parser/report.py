"""Report to CloudWatch what happened: one structured log line and one set of metrics per object.

Nothing that a device sent is reported, except names of fields that ``unknown_fields`` lets through.
"""

import traceback
from dataclasses import asdict

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from telemetry_parser.events import EventError, ParsedObject
from telemetry_parser.raw import ObjectError


class PowertoolsReport:
    """Logs as JSON, and metrics in CloudWatch's embedded metric format.

    Metrics: ``ReadingsParsed``, ``ReadingsRejected``, ``ReadingsRejectedPercent``, ``Rejected…``
    for each class of reason that occurred (``RejectedContract``, ``RejectedJson``, …),
    ``BatchAge``, ``ParseDuration``, ``RawBytes``, ``UnknownFields``; ``ObjectsFailed`` when one
    goes back to the queue.
    """

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics

    def parsed(self, parsed: ParsedObject) -> None:
        """Report an object whose outputs are in place."""
        result = parsed.result
        add = self._metrics.add_metric
        add("ReadingsParsed", MetricUnit.Count, result.readings_parsed)
        add("ReadingsRejected", MetricUnit.Count, result.readings_rejected)
        total = result.readings_parsed + result.readings_rejected
        if total:
            share = 100 * result.readings_rejected / total
            add("ReadingsRejectedPercent", MetricUnit.Percent, share)
        for reason_class, count in result.rejected_by.items():
            add(f"Rejected{reason_class.capitalize()}", MetricUnit.Count, count)
        if parsed.batch_age_seconds is not None:
            add("BatchAge", MetricUnit.Seconds, parsed.batch_age_seconds)
        add("ParseDuration", MetricUnit.Milliseconds, 1000 * parsed.seconds)
        add("RawBytes", MetricUnit.Bytes, result.raw_bytes)
        unknown = len(result.unknown_fields) + result.unknown_fields_unnamed
        add("UnknownFields", MetricUnit.Count, unknown)
        self._metrics.flush_metrics()
        more = {key: value for key, value in asdict(parsed).items() if key != "result"}
        self._logger.info("parsed", extra=asdict(result) | more)

    def failed(self, message_id: str, error: Exception) -> None:
        """Report an SQS message that goes back to the queue."""
        self._metrics.add_metric("ObjectsFailed", MetricUnit.Count, 1)
        self._metrics.flush_metrics()
        # The place of an unexpected error is safe to log; its text may not be.
        known = isinstance(error, (EventError, ObjectError))
        self._logger.error(
            "failed",
            extra={
                "sqs_message_id": message_id,
                "error_type": type(error).__name__,
                "reason": str(error) if known else None,
                "stack": None if known else traceback.format_tb(error.__traceback__),
            },
        )

    def ignored(self, message_id: str, reason: str) -> None:
        """Report an SQS message in which there is nothing to parse."""
        self._logger.info("ignored", extra={"sqs_message_id": message_id, "reason": reason})
