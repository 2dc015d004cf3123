"""End to end on the local stack: what a device publishes is seen while it passes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device.identity import Identity
from local.state import ENVIRONMENT, ROOT
from tests.local.conftest import Lake
from tests.local.paho_client import connected
from tests.local.test_pipeline import READING, encoded, topic_of


@contextmanager
def tapping(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``ops.tap`` until it has said that it shows something."""
    command = [sys.executable, "-m", "ops.tap", "--env", ENVIRONMENT, "--format", "json"]
    process = subprocess.Popen(
        [*command, "--for", "60", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "showing" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    return [json.loads(line) for line in stdout.splitlines()]


def test_plain_topics_are_seen_over_mqtt_and_basic_ingest_from_the_raw_bucket_each_once(
    lake: Lake, device: Identity
) -> None:
    thing = device.device.thing_name
    bad = {**READING, "temperature": "warm"}
    with tapping("--thing", thing, "--count", "3") as process:
        with connected(device.folder) as client:
            client.publish(topic_of(device, basic_ingest=False), encoded(READING))
            client.publish(topic_of(device), encoded(bad))
            client.publish(topic_of(device), b"no JSON")
        found = lines_of(process)
    assert [one["via"] for one in found] == ["mqtt", "s3", "s3"]
    assert {one["thing_name"] for one in found} == {thing}
    assert found[0]["payload"] == READING
    assert [fault["path"] for fault in found[1]["faults"]] == ["$.temperature"]
    assert found[2]["error"] == "payload: not whole JSON"
    assert all(one["age_seconds"] < 60 for one in found)


def test_rows_and_rejected_readings_are_seen_when_their_objects_are_written(
    lake: Lake, device: Identity
) -> None:
    thing = device.device.thing_name
    only = ("--thing", thing, "--count", "1")
    with tapping("--hop", "parsed", *only) as parsed, tapping("--hop", "rejected", *only) as other:
        with connected(device.folder) as client:
            client.publish(topic_of(device), encoded([READING, {**READING, "humidity": 101}]))
        (row,), (rejected,) = lines_of(parsed), lines_of(other)
    assert row["payload"]["humidity"] == READING["humidity"]
    assert rejected["payload"]["humidity"] == 101
    assert rejected["faults"][0]["path"] == "$.humidity"
    assert (row["raw_key"], row["raw_line"]) == (rejected["raw_key"], rejected["raw_line"])
