"""The Lambda function: one channel and hour in, what became of them out.

Settings are read and clients are made when this module is imported, once for each execution
environment; a wrong setting fails the function's start. Nothing else has such side effects.
"""

import os
from typing import Any

import boto3
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from telemetry_rebuild.events import run
from telemetry_rebuild.objects import HistoryObjects
from telemetry_rebuild.rebuild import Rebuilder
from telemetry_rebuild.report import PowertoolsHistoryReport
from telemetry_rebuild.settings import RebuildSettings

_settings = RebuildSettings.from_environment(os.environ)
_logger = Logger()
_report = PowertoolsHistoryReport(_logger, Metrics())
_rebuilder = Rebuilder(
    objects=HistoryObjects(boto3.client("s3")),
    raw_bucket=_settings.raw_bucket,
    parsed_bucket=_settings.parsed_bucket,
    retention_days=_settings.daily_retention_days,
    memory_mebibytes=_settings.sort_memory_mebibytes,
    threads=_settings.sort_threads,
    limits=_settings.limits,
)


@_logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  # Lambda's signature
    """Rebuild the hour that ``event`` names: ``channel``, ``hour`` and perhaps ``force``."""
    return run(event, _rebuilder, _report)
