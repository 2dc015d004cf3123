"""End to end on the local stack: an object that could not be parsed is parsed in the end."""

import gzip
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_until

RunModule = Callable[..., subprocess.CompletedProcess[str]]

KEY = f"raw/{CHANNEL}/dt=2026-01-02/hour=00/poison-of-a-test.ndjson.gz"
WHOLE = gzip.compress(b"no envelope\n" * 1000, compresslevel=0)


@pytest.mark.usefixtures("no_events_of_other_tests")
def test_what_could_not_be_parsed_is_named_with_its_reason_and_goes_back_to_the_parser(
    lake: Lake, run_module: RunModule
) -> None:
    sqs, s3 = lake.client("sqs"), lake.client("s3")
    queue_url = lake.resource("AWS::SQS::Queue", "ParserFunctionQueue")
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["VisibilityTimeout"])
    bucket, rejected = lake.bucket("RawBucket"), f"rejected/{KEY.removeprefix('raw/')}"

    def dead() -> list[dict[str, Any]]:
        done = run_module(
            "ops.redrive", "--env", ENVIRONMENT, "--channel", CHANNEL, "--dry-run", "--format=json"
        )
        assert done.returncode == 0, done.stderr
        return [one for one in json.loads(done.stdout)["events"] if one["raw_keys"] == [KEY]]

    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "0"})
    try:
        s3.put_object(Bucket=bucket, Key=KEY, Body=WHOLE[:-8])
        # The log may be later than the queue.
        wait_until(lambda: [one for one in dead() if one["error"]], "the event and its error")
        (event,) = dead()
        assert "expected whole gzip" in event["error"]
    finally:
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes["Attributes"])
    # The new object has an event of its own; what is asserted is that the old event is gone.
    s3.put_object(Bucket=bucket, Key=KEY, Body=WHOLE)
    done = run_module("ops.redrive", "--env", ENVIRONMENT, "--channel", CHANNEL, "--yes")
    assert done.returncode == 0, done.stderr
    assert KEY in done.stdout
    assert "moved to the parser's queue" in done.stderr
    assert dead() == []
    wait_until(lambda: lake.objects("ParsedBucket", rejected), "the object's rejected lines")

    def is_empty() -> bool:
        counts = [f"ApproximateNumberOfMessages{which}" for which in ("", "NotVisible")]
        found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=counts)["Attributes"]
        return all(found[name] == "0" for name in counts)

    # An event about an object that is gone would fail.
    wait_until(is_empty, "both events to be processed")
    s3.delete_object(Bucket=bucket, Key=KEY)
