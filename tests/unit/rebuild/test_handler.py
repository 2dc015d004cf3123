"""The function as Lambda starts it: what it takes, what it says, what it never says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENT = {
    "RAW_BUCKET": "raw-bucket",
    "PARSED_BUCKET": "parsed-bucket",
    "DAILY_RETENTION_DAYS": "1095",
    "POWERTOOLS_SERVICE_NAME": "rebuild",
    "POWERTOOLS_METRICS_NAMESPACE": "Telemetry",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
}

_RUN = """
import gzip, json, sys
from types import SimpleNamespace
from telemetry_rebuild.objects import HistoryObjects
from tests.unit.rebuild.hours import lake, of_thing, packed, reading

made = lake({
    "1": packed(of_thing("a", [reading(), reading(), reading(timestamp=9), {"status": "s3cret"}])),
    "2": packed(of_thing("a", reading(timestamp=1577836800001, firmware="s3cret"))),
    "3": gzip.compress(b"s3cret")[:-1],
})
for name in ("list", "get", "open", "put", "remove"):
    setattr(HistoryObjects, name, lambda self, *a, name=name: getattr(made.objects, name)(*a))

from telemetry_rebuild.handler import handler
context = SimpleNamespace(function_name="f", memory_limit_in_mb=512,
                          invoked_function_arn="arn", aws_request_id="r-1")
for event in map(json.loads, sys.argv[1:]):
    if event.get("hour") == "2026-11-22T11":
        def refuse(*_):
            raise LookupError("s3" "cret")  # from Python 3.13 on, tracebacks quote this line
        made.objects.before = refuse
    try:
        print(json.dumps({"response": handler(event, context)}))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}",
                          "cause": error.__cause__ and str(error.__cause__)}))
"""

EVENT = {"channel": "telemetry", "hour": "2026-11-22T09"}
COUNTS = {
    "channel": "telemetry",
    "hour": "2026-11-22T09",
    "raw_objects": 2,
    "skipped": 1,
    "rows": 2,
    "rejected": 2,
    "repeated": 1,
    "misdated": 1,
}


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
    """Every line that the function prints: twice an hour, by force, and four that fail."""
    events: list[dict[str, Any]] = [
        EVENT,
        EVENT,
        EVENT | {"force": True},
        EVENT | {"channel": "nosuch"},
        EVENT | {"hour": "yesterday"},
        {},
        EVENT | {"hour": "2026-11-22T11"},
    ]
    done = run("-c", _RUN, *map(json.dumps, events), environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout + done.stderr, "a device's value is logged"
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_the_response_has_the_counts_of_the_hour(said: list[dict[str, Any]]) -> None:
    responses = [text["response"] for text in said if "response" in text]
    assert responses == [COUNTS | {"unchanged": unchanged} for unchanged in (False, True, False)]


def test_one_log_line_per_hour_names_what_was_skipped(said: list[dict[str, Any]]) -> None:
    log = next(text for text in said if text.get("message") == "rebuilt")
    assert (log["service"], log["function_request_id"]) == ("rebuild", "r-1")
    assert (log["hour"], log["rows"], log["daily_objects"]) == ("2026-11-22T09", 2, 1)
    ((skipped),) = log["skipped"]
    assert skipped["key"].endswith("/3.ndjson.gz")
    assert skipped["reason"].startswith("expected whole gzip")


def test_metrics_are_in_the_embedded_format(said: list[dict[str, Any]]) -> None:
    rebuilt, unchanged, _ = (text for text in said if "_aws" in text)
    definition = rebuilt["_aws"]["CloudWatchMetrics"][0]
    assert definition["Namespace"] == "Telemetry"
    assert {metric["Name"]: metric["Unit"] for metric in definition["Metrics"]} == {
        "ObjectsSkipped": "Count",
        "RowsWritten": "Count",
        "ReadingsRepeated": "Count",
        "ReadingsMisdated": "Count",
        "RebuildDuration": "Milliseconds",
    }
    assert rebuilt["ObjectsSkipped"] == unchanged["ObjectsSkipped"] == [1.0]
    assert rebuilt["RowsWritten"] == [2.0]
    assert "RowsWritten" not in unchanged


def test_an_hour_that_fails_is_an_error_that_says_why(said: list[dict[str, Any]]) -> None:
    errors = [text["error"] for text in said if "error" in text]
    assert [text["cause"] for text in said if "error" in text] == [None] * 4
    assert errors == [
        "NotRebuiltError: nosuch 2026-11-22T09: expected one of telemetry, got contract 'nosuch'",
        "NotRebuiltError: telemetry yesterday: expected an hour yyyy-MM-ddTHH, got 'yesterday'",
        "NotRebuiltError: None None: expected one of telemetry, got contract 'None'",
        "NotRebuiltError: telemetry 2026-11-22T11: LookupError",
    ]
    logs = [text for text in said if text.get("message") == "failed"]
    assert [log["level"] for log in logs] == ["ERROR"] * 4
    assert any("rebuild.py" in place for place in logs[-1]["stack"])


def test_a_wrong_setting_fails_the_functions_start_and_is_named() -> None:
    wrong = ENVIRONMENT | {"RAW_BUCKET": ""}
    done = run("-c", "import telemetry_rebuild.handler", environment=wrong)
    assert done.returncode != 0
    assert "SettingsError: RAW_BUCKET: expected a value" in done.stderr


def test_importing_anything_but_the_handlers_needs_no_environment_and_no_boto3() -> None:
    code = """
import pkgutil, sys, telemetry_rebuild
for module in pkgutil.iter_modules(telemetry_rebuild.__path__):
    if module.name not in ("handler", "silence_handler"):
        __import__(f"telemetry_rebuild.{module.name}")
print("boto3" in sys.modules)
"""
    done = run("-c", code, environment={})
    assert done.stdout == "False\n", done.stderr
