"""End to end on the local stack: what was not delivered becomes rows in the end."""

import base64
import json
import subprocess
from collections.abc import Callable

from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, refusing_batches, wait_until
from tests.local.paho_client import connected
from tests.local.test_pipeline import READING, encoded, rows_of, topic_of

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def test_undelivered_and_failed_messages_become_rows_and_leave_nothing_behind(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    s3, bucket, thing = lake.client("s3"), lake.bucket("RawBucket"), device.device.thing_name
    with refusing_batches(lake):
        with connected(device.folder) as client:
            client.publish(topic_of(device), encoded({**READING, "sequence": 0}))
        wait_until(lambda: _undelivered(lake, thing), "the message under undelivered/")
    line = {
        "payload": base64.b64encode(encoded({**READING, "sequence": 1})).decode(),
        "topic": topic_of(device, basic_ingest=False),
        "received_at": READING["timestamp"],
    }
    record = {
        "attemptsMade": 4,
        "arrivalTimestamp": READING["timestamp"],
        "errorCode": "S3.AccessDenied",
        "errorMessage": "made by a test",
        "attemptEndingTimestamp": READING["timestamp"],
        "rawData": base64.b64encode(encoded(line) + b"\n").decode(),
    }
    failed = f"failed/processing-failed/{CHANNEL}/dt=2026-01-02/hour=03/{thing}"
    broken = f"undelivered/{CHANNEL}/dt=2026-01-02/broken-{thing}.json"
    s3.put_object(Bucket=bucket, Key=failed, Body=encoded(record))
    s3.put_object(Bucket=bucket, Key=broken, Body=b"{}")

    command = ("ops.recover", "--env", ENVIRONMENT, "--channel", CHANNEL, "--format", "json")
    dry = run_module(*command, "--dry-run")
    assert json.loads(dry.stdout)["sources"]["failed"]["messages"] >= 1, dry.stderr
    done = run_module(*command, "--yes")
    s3.delete_object(Bucket=bucket, Key=broken)
    assert done.returncode == 23, done.stderr
    found = json.loads(done.stdout)
    assert list(found["not_understood"]) == [broken]
    (made,) = found["recovered"]
    rows = rows_of(lake, device, 2)
    assert sorted(row["sequence"] for row in rows) == [0, 1]
    assert {row["raw_key"] for row in rows} == {made["key"]}
    assert lake.objects("RawBucket", "recovering/") == {}
    assert lake.objects("RawBucket", failed) == {}
    assert _undelivered(lake, thing) == []

    shown = run_module("ops.raw", "--env", ENVIRONMENT, "--thing", thing)
    assert len([one for one in shown.stdout.splitlines() if f"/{thing}/" in one]) == 2

    again = run_module(*command, "--yes")
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert len(lake.rows(thing)) == 2


def _undelivered(lake: Lake, thing: str) -> list[bytes]:
    bodies = lake.objects("RawBucket", f"undelivered/{CHANNEL}/").values()
    return [body for body in bodies if f"/{thing}/".encode() in body]
