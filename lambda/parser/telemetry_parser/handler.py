"""The Lambda function: an SQS event of S3 notifications in, a partial batch response out.

Settings are read and clients are made when this module is imported, once for each execution
environment; a wrong setting fails the function's start. Nothing else has such side effects.
"""

import os
from typing import Any

import boto3
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from telemetry_parser.events import EventProcessor
from telemetry_parser.objects import S3Objects
from telemetry_parser.parser import Parser
from telemetry_parser.report import PowertoolsReport
from telemetry_parser.settings import Settings

_settings = Settings.from_environment(os.environ)
_logger = Logger()
_processor = EventProcessor(
    parser=Parser(_settings.contract, _settings.limits),
    objects=S3Objects(boto3.client("s3")),
    parsed_bucket=_settings.parsed_bucket,
    report=PowertoolsReport(_logger, Metrics()),
)


@_logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, list[dict[str, str]]]:  # noqa: ARG001  # Lambda's signature
    """Parse every object that ``event`` names; return the SQS messages that failed."""
    return _processor.process(event)
