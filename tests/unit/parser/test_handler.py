"""The function as Lambda starts it: what it says, what it needs, how fast it is there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EVENTS = Path(__file__).resolve().parents[2] / "events"
ENVIRONMENT = {
    "CHANNEL": "telemetry",
    "PARSED_BUCKET": "parsed",
    "POWERTOOLS_SERVICE_NAME": "parser-telemetry",
    "POWERTOOLS_METRICS_NAMESPACE": "Telemetry",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
}

_RUN = """
import gzip, io, json, sys
from types import SimpleNamespace
import boto3
from tests.unit.parser.examples import GOOD, line
from telemetry_parser.objects import S3Objects
from tests.unit.parser.fakes import FakeObjects

objects = FakeObjects()
key = "raw/telemetry/dt=2026-11-22/hour=09/stream one-1-2026-11-22-09-00-01-0b1c.ndjson.gz"
objects.content["raw-bucket", key] = gzip.compress(
    line([GOOD | {"wind": "s3cret"}, GOOD | {"status": "s3cret"}]) + b"\\ns3cret")
for name in ("open", "put", "remove"):
    setattr(S3Objects, name, lambda self, *a, name=name: getattr(objects, name)(*a))

from telemetry_parser.handler import handler
context = SimpleNamespace(function_name="f", memory_limit_in_mb=512,
                          invoked_function_arn="arn", aws_request_id="r-1")
for event in sys.argv[1:]:
    print(json.dumps({"response": handler(json.loads(event), context)}))
"""


def run(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())} | environment,
    )


@pytest.fixture(scope="module")
def said() -> list[dict[str, Any]]:
    """Every line that the function prints for an object, S3's test, and an object that is lost."""
    names = ("s3_object_created", "s3_test_event")
    events = [(EVENTS / f"{name}.json").read_text() for name in names]
    lost = events[0].replace("0b1c.ndjson", "lost.ndjson")
    done = run("-c", _RUN, *events, lost, environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout + done.stderr, "a device's value is logged"
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_the_response_names_what_failed(said: list[dict[str, Any]]) -> None:
    responses = [text["response"]["batchItemFailures"] for text in said if "response" in text]
    assert [len(failures) for failures in responses] == [0, 0, 1]


def test_one_log_line_an_object_has_its_keys_and_counts(said: list[dict[str, Any]]) -> None:
    (log,) = [text for text in said if text.get("message") == "parsed"]
    assert log["service"] == "parser-telemetry"
    assert log["function_request_id"] == "r-1"
    assert log["raw_key"].endswith("0b1c.ndjson.gz")
    assert log["parquet_key"].startswith("parsed/telemetry/dt=2026-11-22/hour=09/")
    assert log["rejected_key"].startswith("rejected/telemetry/dt=2026-11-22/hour=09/")
    assert (log["lines"], log["readings_parsed"], log["readings_rejected"]) == (2, 1, 2)
    assert log["rejected_by"] == {"contract": 1, "line": 1}
    assert log["unknown_fields"] == ["wind"]


def test_metrics_are_in_the_embedded_format(said: list[dict[str, Any]]) -> None:
    metrics = [text for text in said if "_aws" in text]
    parsed, failed = metrics
    definition = parsed["_aws"]["CloudWatchMetrics"][0]
    assert definition["Namespace"] == "Telemetry"
    assert {metric["Name"]: metric["Unit"] for metric in definition["Metrics"]} == {
        "ReadingsParsed": "Count",
        "ReadingsRejected": "Count",
        "ReadingsRejectedPercent": "Percent",
        "RejectedContract": "Count",
        "RejectedLine": "Count",
        "BatchAge": "Seconds",
        "ParseDuration": "Milliseconds",
        "RawBytes": "Bytes",
        "UnknownFields": "Count",
    }
    assert parsed["ReadingsParsed"] == [1.0]
    assert failed["ObjectsFailed"] == [1.0]


def test_a_failure_is_logged_with_where_it_came_from(said: list[dict[str, Any]]) -> None:
    (log,) = [text for text in said if text.get("message") == "failed"]
    assert log["level"] == "ERROR"
    assert log["error_type"] == "LookupError"
    assert any("events.py" in place for place in log["stack"])


def test_a_wrong_setting_fails_the_functions_start_and_is_named() -> None:
    done = run("-c", "import telemetry_parser.handler", environment=ENVIRONMENT | {"CHANNEL": ""})
    assert done.returncode != 0
    assert "SettingsError: CHANNEL: expected a value" in done.stderr


def test_importing_anything_but_the_handler_needs_no_environment_and_no_boto3() -> None:
    code = """
import pkgutil, sys, telemetry_parser
sys.modules["boto3"] = sys.modules["botocore"] = None
for module in pkgutil.iter_modules(telemetry_parser.__path__):
    if module.name not in ("handler", "objects"):
        __import__("telemetry_parser." + module.name)
"""
    done = run("-c", code, environment={})
    assert done.returncode == 0, done.stderr
