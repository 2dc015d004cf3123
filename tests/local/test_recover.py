"""End to end on the local stack: what was not delivered becomes rows in the end."""

import base64
import json
import subprocess
from collections.abc import Callable

from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_for
from tests.local.test_pipeline import READING, encoded, rows_of, topic_of

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def test_undelivered_and_failed_messages_become_rows_and_leave_nothing_behind(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    s3, bucket, thing = lake.client("s3"), lake.bucket("RawBucket"), device.device.thing_name
    topic = topic_of(device, basic_ingest=False)
    payloads = [base64.b64encode(encoded({**READING, "sequence": n})).decode() for n in range(2)]
    error = {
        "ruleName": f"{ENVIRONMENT}_{CHANNEL}",
        "topic": topic,
        "cloudwatchTraceId": "trace",
        "clientId": thing,
        "base64OriginalPayload": payloads[0],
        "failures": [{"failedAction": "FirehoseAction", "errorMessage": "made by a test"}],
    }
    line = {"payload": payloads[1], "topic": topic, "received_at": READING["timestamp"]}
    record = {
        "attemptsMade": 4,
        "arrivalTimestamp": READING["timestamp"],
        "errorCode": "S3.AccessDenied",
        "errorMessage": "made by a test",
        "attemptEndingTimestamp": READING["timestamp"],
        "rawData": base64.b64encode(encoded(line) + b"\n").decode(),
    }
    broken = f"undelivered/{CHANNEL}/dt=2026-01-02/broken-{thing}.json"
    sources = {
        f"undelivered/{CHANNEL}/dt=2026-01-02/{thing}.json": error,
        f"failed/processing-failed/{CHANNEL}/dt=2026-01-02/hour=03/{thing}": record,
        broken: {},
    }
    for key, document in sources.items():
        s3.put_object(Bucket=bucket, Key=key, Body=encoded(document))

    command = ("ops.recover", "--env", ENVIRONMENT, "--channel", CHANNEL, "--format", "json")
    dry = run_module(*command, "--dry-run")
    assert json.loads(dry.stdout)["sources"]["failed"]["messages"] >= 1, dry.stderr
    done = run_module(*command, "--yes")
    assert done.returncode == 23, done.stderr
    found = json.loads(done.stdout)
    assert list(found["not_understood"]) == [broken]
    (made,) = found["recovered"]
    rows = rows_of(lake, device, 2)
    assert sorted(row["sequence"] for row in rows) == [0, 1]
    assert {row["raw_key"] for row in rows} == {made["key"]}
    assert lake.objects("RawBucket", "recovering/") == {}
    assert not [key for key in sources if key != broken and lake.objects("RawBucket", key)]

    shown = run_module("ops.raw", "--env", ENVIRONMENT, "--thing", thing)
    assert len([one for one in shown.stdout.splitlines() if f"/{thing}/" in one]) == 2

    s3.delete_object(Bucket=bucket, Key=broken)
    again = run_module(*command, "--yes")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    wait_for(lambda: lake.rows(thing), 2, "rows")
    assert len(lake.rows(thing)) == 2
