"""End to end on the local stack: a trouble is caused, and ops.status sees it, and its end."""

import gzip
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from device import aws
from device.errors import ExitStatus
from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_until
from tests.local.paho_client import connected
from tests.local.test_pipeline import READING, encoded, topic_of

RunModule = Callable[..., subprocess.CompletedProcess[str]]
Status = Callable[[], dict[str, Any]]


@pytest.fixture
def status(lake: Lake, run_module: RunModule) -> Status:
    def read() -> dict[str, Any]:
        done = run_module("ops.status", "--env", ENVIRONMENT, "--format", "json")
        record: dict[str, Any] = json.loads(done.stdout)
        expected = ExitStatus.OK if record["healthy"] else ExitStatus.UNHEALTHY
        assert done.returncode == expected, done.stderr
        record["channel"], *_ = (one for one in record["channels"] if one["name"] == CHANNEL)
        return record

    return read


def kinds(record: dict[str, Any]) -> set[str]:
    return {problem["kind"] for problem in record["problems"]}


@contextmanager
def parser_stopped(lake: Lake, mapping: str) -> Iterator[None]:
    functions = lake.client("lambda")
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)


@pytest.mark.usefixtures("no_events_of_other_tests")
def test_a_parser_that_is_not_triggered_is_seen_with_its_backlog_until_it_is_triggered_again(
    lake: Lake, device: Identity, status: Status
) -> None:
    before = status()
    assert "stopped" not in kinds(before)
    with parser_stopped(lake, before["channel"]["trigger"]), connected(device.folder) as client:
        client.publish(topic_of(device), encoded(READING))
        during = wait_until(
            lambda: one if (one := status())["channel"]["queue"]["events"] else {}, "the backlog"
        )
        assert "stopped" in kinds(during)
        command = next(one["command"] for one in during["problems"] if one["kind"] == "stopped")
        assert command.endswith(f"--uuid {before['channel']['trigger']} --enabled")
    after = wait_until(
        lambda: {} if (one := status())["channel"]["queue"]["events"] else one, "an empty queue"
    )
    assert "stopped" not in kinds(after)


def written_last_hour(lake: Lake, hop: str) -> list[bytes]:
    s3, bucket = lake.client("s3"), lake.bucket("RawBucket" if hop == "raw" else "ParsedBucket")
    since = datetime.now(UTC) - timedelta(hours=1)
    return [
        s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
        for entry in aws.listed(
            s3, "list_objects_v2", "Contents", Bucket=bucket, Prefix=f"{hop}/{CHANNEL}/dt=2"
        )
        if entry["LastModified"] >= since and "of-a-test" not in entry["Key"]
    ]


def rejected_last_hour(lake: Lake) -> int:
    objects = written_last_hour(lake, "rejected")
    return sum(len(gzip.decompress(each).splitlines()) for each in objects)


def test_rejected_readings_are_seen_with_their_reason_and_as_many_as_were_sent(
    lake: Lake, device: Identity, status: Status
) -> None:
    before = status()["channel"]["readings"] or {"rejected": {"value": 0}, "parsed": {"value": 0}}
    written = rejected_last_hour(lake)
    bad = {**READING, "temperature": "warm", "surplus": 1}
    with connected(device.folder) as client:
        client.publish(topic_of(device), gzip.compress(encoded([bad] * 2000 + [READING] * 7)))
    wait_until(lambda: len(lake.rejected(device.device.thing_name)) == 2000, "rejected lines")
    after = wait_until(
        lambda: (one := status())["channel"]["readings"]["rejected"] != before["rejected"] and one,
        "the parser's log",
    )
    channel = after["channel"]
    assert channel["readings"]["rejected"]["value"] - before["rejected"]["value"] == 2000
    assert channel["readings"]["parsed"]["value"] - before["parsed"]["value"] == 7
    total = channel["readings"]["rejected"]["value"] + channel["readings"]["parsed"]["value"]
    share = channel["readings"]["rejected"]["value"] / total
    assert ("rejected" in kinds(after)) == (share > 0.05), "other tests may have sent more"
    assert channel["reasons"][0]["path"] == "$.temperature"
    assert channel["raw"]["count"]["value"] == len(written_last_hour(lake, "raw"))
    # Other tests remove objects which the log has counted, so only what this one adds is compared.
    assert rejected_last_hour(lake) - written == 2000
    assert "warm" not in json.dumps(after)


def test_what_was_not_delivered_is_seen_until_it_is_gone(lake: Lake, status: Status) -> None:
    s3, bucket = lake.client("s3"), lake.bucket("RawBucket")
    keys = (
        f"undelivered/{CHANNEL}/dt=2026-01-02/of-a-test.json",
        f"failed/processing-failed/{CHANNEL}/dt=2026-01-02/hour=00/of-a-test",
    )
    before = status()["channel"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    during = status()
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)
    for name in ("undelivered", "failed"):
        counts = [one[name]["count"]["value"] for one in (before, during["channel"])]
        assert counts == [counts[0], counts[0] + 1]
        assert status()["channel"][name]["count"]["value"] == counts[0]
    assert "undelivered" in kinds(during)


def test_a_dead_letter_is_seen_until_it_is_gone(lake: Lake, status: Status) -> None:
    sqs, url = lake.client("sqs"), lake.resource("AWS::SQS::Queue", "ParserFunctionDeadLetterQueue")
    before = status()["channel"]["dead_letters"]["events"]
    sqs.send_message(QueueUrl=url, MessageBody="of a test")
    during = status()
    assert during["channel"]["dead_letters"]["events"] == before + 1
    assert "dead letters" in kinds(during)
    sqs.purge_queue(QueueUrl=url)
    assert status()["channel"]["dead_letters"]["events"] == 0
