"""End to end on the local stack: from a device with its own certificate to a query result."""

import base64
import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import names
from device.identity import Identity
from local.figures import FIGURES
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, refusing_batches, wait_for, wait_until
from tests.local.paho_client import RefusedError, connected

RunModule = Callable[..., subprocess.CompletedProcess[str]]

READING = {
    "timestamp": 1_790_000_000_123,
    "temperature": 21.5,
    "humidity": 40,
    "battery": 99.5,
    "status": "ok",
}
NOT_AUTHORIZED = "Not authorized"


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def topic_of(device: Identity, *, basic_ingest: bool = True) -> str:
    build = names.basic_ingest_topic if basic_ingest else names.topic
    return build(ENVIRONMENT, device.device.thing_name, CHANNEL)


def rows_of(lake: Lake, device: Identity, count: int) -> list[dict[str, Any]]:
    thing = device.device.thing_name
    return wait_for(lambda: lake.rows(thing), count, f"rows of {thing}")


def test_the_demo_succeeds_and_its_sums_agree(lake: Lake, run_module: RunModule) -> None:
    done = run_module("local", "demo")
    assert done.returncode == 0, done.stderr
    figures = json.loads(FIGURES.read_text())
    assert figures["raw_messages"] == figures["published"] > 200
    assert figures["refused"] == 1
    assert (
        figures["readings_parsed"] + figures["readings_rejected"] == figures["readings_sent"] > 400
    )
    assert figures["athena_rows"] == figures["readings_parsed"]
    assert figures["raw_objects"] >= 1
    assert "442 rows of Parquet = 240 sent one per message + 200 packed + 2" in done.stderr
    assert "python -m device.publish --env local --thing my-sensor" in done.stderr


def test_what_the_command_line_publishes_the_command_line_queries(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    thing = device.device.thing_name
    published = run_module(
        *("device.publish", "--env", ENVIRONMENT, "--thing", thing, "--count", "20"),
        *("--format", "json"),
    )
    assert published.returncode == 0, published.stderr
    assert json.loads(published.stdout)["acknowledged"] == 20
    rows_of(lake, device, 20)
    sql = f"SELECT count(*) AS readings FROM {CHANNEL} WHERE thing_name = '{thing}'"
    answer = run_module("ops.query", sql, "--env", ENVIRONMENT, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {"readings": 20}


@pytest.mark.parametrize("name", ["latest", "volume", "days", "rejected", "reasons", "duplicates"])
@pytest.mark.parametrize("output", ["table", "csv", "json"])
def test_every_named_query_runs(name: str, output: str, lake: Lake, run_module: RunModule) -> None:
    done = run_module("ops.query", "--named", name, "--env", ENVIRONMENT, "--format", output)
    assert done.returncode == 0, done.stderr


def test_a_rejected_reading_is_shown_with_who_sent_it_when_and_why(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    with connected(device.folder) as client:
        client.publish(topic_of(device), encoded([READING, {**READING, "humidity": "\x1b[2J"}]))
    thing = device.device.thing_name
    wait_for(lambda: lake.rejected(thing), 1, "rejected readings")
    query = ("ops.query", "--named", "rejected", "--env", ENVIRONMENT)
    done = run_module(*query, "--format", "json")
    (found,) = (r for r in map(json.loads, done.stdout.splitlines()) if r["thing_name"] == thing)
    assert json.loads(found["payload"]) == {**READING, "humidity": "\x1b[2J"}
    assert found["path"] == "$.humidity"
    assert found["reason"]
    assert found["received_at"].startswith("20")
    assert thing in run_module(*query).stdout


def test_a_wrong_query_is_one_line_with_athenas_reason(lake: Lake, run_module: RunModule) -> None:
    done = run_module("ops.query", "SELECT nonsense", "--env", ENVIRONMENT)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("error: Athena failed the query: ")
    assert len(done.stderr.splitlines()) == 1


def test_any_client_can_publish_any_bytes_and_every_one_is_accounted_for(
    lake: Lake, device: Identity, run_module: RunModule, tmp_path: Path
) -> None:
    payloads = [
        encoded(READING),
        encoded([READING, READING, READING]),
        gzip.compress(encoded([READING] * 50)),
        encoded([READING, {**READING, "status": "?"}]),
        b"",
        b"not json",
        bytes(range(256)) * 4,
        b"\xff\xfe{\x00}\x00",
        b"[" * 500,  # the emulator's broker itself fails on a depth of about 1,000
        b'{"temperature": 1e400}',
        b"x" * (128 * 1024),
    ]
    with connected(device.folder) as client:
        for basic_ingest in (True, False):
            for payload in payloads:
                client.publish(topic_of(device, basic_ingest=basic_ingest), payload)
    thing = device.device.thing_name
    raw = wait_for(lambda: lake.raw_lines(thing), 22, "messages in the raw bucket")
    received = sorted(base64.b64decode(line["payload"]) for line in raw)
    assert received == sorted([*payloads, *payloads])
    # 1 + 3 + 50 + 1 good readings and 1 + 7 bad ones, each sent twice.
    rows = rows_of(lake, device, 110)
    rejected = wait_for(lambda: lake.rejected(thing), 16, "rejected readings")
    assert (len(rows), len(rejected)) == (110, 16)
    assert {line["topic"] for line in raw} == {names.topic(ENVIRONMENT, thing, CHANNEL)}

    # The same bytes through the same parser on this machine give the same counts.
    batch = tmp_path / "batch.ndjson.gz"
    batch.write_bytes(gzip.compress(b"".join(encoded(line) + b"\n" for line in raw)))
    out = tmp_path / "out"
    parsed = run_module(
        *("ops.parse", str(batch), "--contract", CHANNEL, "--out", str(out), "--format", "json")
    )
    assert parsed.returncode == 0, parsed.stderr
    summary = json.loads(parsed.stdout)
    assert (summary["messages"], summary["readings"], summary["rejected"]) == (22, 110, 16)


def test_a_row_says_where_it_comes_from(lake: Lake, device: Identity) -> None:
    with connected(device.folder) as client:
        client.publish(topic_of(device), encoded(READING))
    (row,) = rows_of(lake, device, 1)
    thing = device.device.thing_name
    assert (row["thing_name"], row["customer"]) == (thing, None)
    assert row["timestamp"].timestamp() == READING["timestamp"] / 1000  # type: ignore[operator]
    raw = gzip.decompress(lake.objects("RawBucket", row["raw_key"])[row["raw_key"]])
    line = json.loads(raw.splitlines()[row["raw_line"] - 1])
    assert line["client_id"] == thing
    assert line["certificate_id"] == device.device.certificate_id
    assert line["received_at"] == row["received_at"].timestamp() * 1000
    assert json.loads(base64.b64decode(line["payload"])) == READING


def test_a_message_that_is_delivered_twice_is_found(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    with connected(device.folder) as client:
        for _ in range(2):
            client.publish(topic_of(device), encoded(READING))
    assert len(rows_of(lake, device, 2)) == 2
    done = run_module(
        "ops.query", "--named", "duplicates", "--env", ENVIRONMENT, "--format", "json"
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    thing = device.device.thing_name
    assert [row["copies"] for row in found if row["thing_name"] == thing] == [2]


def test_an_event_that_arrives_again_changes_nothing(lake: Lake, device: Identity) -> None:
    with connected(device.folder) as client:
        client.publish(topic_of(device), encoded([READING, READING]))
    before = rows_of(lake, device, 2)
    key = before[0]["raw_key"]
    parsed_key = key.replace("raw/", "parsed/").replace(".ndjson.gz", ".parquet")
    s3 = lake.client("s3")
    parsed = {"Bucket": lake.bucket("ParsedBucket"), "Key": parsed_key}
    written = s3.head_object(**parsed)["VersionId"]
    queue_url = lake.resource("AWS::SQS::Queue", "ParserFunctionQueue")
    record = {"eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": lake.bucket("RawBucket")}, "object": {"key": key.replace("=", "%3D")},
    }}  # fmt: skip
    lake.client("sqs").send_message(
        QueueUrl=queue_url,
        MessageBody=json.dumps({"Records": [{"eventSource": "aws:s3", **record}]}),
    )
    wait_until(lambda: s3.head_object(**parsed)["VersionId"] != written, "parsed again")
    assert lake.rows(device.device.thing_name) == before


def test_a_device_cannot_connect_with_another_client_id(device: Identity) -> None:
    with pytest.raises(RefusedError), connected(device.folder, client_id="somebody-else"):
        pass


def test_a_device_cannot_publish_for_another(
    device: Identity, make_device: Callable[[], Identity]
) -> None:
    other = make_device()
    with connected(device.folder) as client:
        for basic_ingest in (True, False):
            topic = topic_of(other, basic_ingest=basic_ingest)
            assert client.publish(topic, encoded(READING)) == NOT_AUTHORIZED
        assert client.publish(topic_of(device), encoded(READING)) != NOT_AUTHORIZED


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param("dt/local/{thing}/unknown", id="a channel without a contract"),
        pytest.param("dt/local/{thing}", id="no channel"),
        pytest.param("dt/prod/{thing}/telemetry", id="another environment"),
        pytest.param("$aws/rules/prod_telemetry/dt/local/{thing}/telemetry", id="another rule"),
        pytest.param("$aws/things/{thing}/shadow/update", id="its shadow"),
        pytest.param("anything", id="any other topic"),
    ],
)
def test_a_device_cannot_publish_where_nobody_reads(device: Identity, topic: str) -> None:
    with connected(device.folder) as client:
        reason = client.publish(topic.format(thing=device.device.thing_name), encoded(READING))
    assert reason == NOT_AUTHORIZED


def test_a_device_cannot_subscribe(device: Identity) -> None:
    with connected(device.folder) as client:
        assert client.subscribe("dt/local/#") == NOT_AUTHORIZED
        assert client.subscribe(topic_of(device, basic_ingest=False)) == NOT_AUTHORIZED


def test_a_certificate_that_was_deactivated_is_refused(lake: Lake, device: Identity) -> None:
    lake.client("iot").update_certificate(
        certificateId=device.device.certificate_id, newStatus="INACTIVE"
    )
    with pytest.raises(RefusedError), connected(device.folder):
        pass


def test_a_certificate_that_was_detached_from_its_thing_is_refused(
    lake: Lake, device: Identity
) -> None:
    lake.client("iot").detach_thing_principal(
        thingName=device.device.thing_name, principal=device.device.certificate_arn
    )
    with pytest.raises(RefusedError), connected(device.folder):
        pass


def test_an_object_that_is_not_whole_gzip_ends_in_the_dead_letter_queue_and_stays(
    lake: Lake,
) -> None:
    sqs, s3 = lake.client("sqs"), lake.client("s3")
    queue_url = lake.resource("AWS::SQS::Queue", "ParserFunctionQueue")
    dead_url = lake.resource("AWS::SQS::Queue", "ParserFunctionDeadLetterQueue")
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["VisibilityTimeout"])
    key = f"raw/{CHANNEL}/dt=2026-01-01/hour=00/broken-by-a-test.ndjson.gz"
    bucket = lake.bucket("RawBucket")
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "0"})
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=gzip.compress(b"{}" * 1000)[:-8])

        def dead() -> list[dict[str, Any]]:
            found = sqs.receive_message(QueueUrl=dead_url, MaxNumberOfMessages=10)
            return [m for m in found.get("Messages", []) if "broken-by-a-test" in m["Body"]]

        (message,) = wait_until(dead, "the event in the dead-letter queue")
    finally:
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes["Attributes"])
    assert s3.head_object(Bucket=bucket, Key=key)
    sqs.delete_message(QueueUrl=dead_url, ReceiptHandle=message["ReceiptHandle"])
    s3.delete_object(Bucket=bucket, Key=key)


def test_the_deployed_rule_is_as_it_was_deployed_and_its_firehose_action_runs(
    lake: Lake, device: Identity
) -> None:
    rule = lake.client("iot").get_topic_rule(ruleName=names.rule_name(ENVIRONMENT, CHANNEL))["rule"]
    assert [list(action) for action in rule["actions"]] == [["firehose"]]
    with connected(device.folder) as client:
        client.publish(topic_of(device), encoded(READING))
    assert len(rows_of(lake, device, 1)) == 1


def test_what_the_bucket_refuses_is_undelivered_with_its_payload(
    lake: Lake, device: Identity
) -> None:
    payload = encoded({**READING, "sequence": 7})
    thing = device.device.thing_name

    def undelivered() -> list[dict[str, Any]]:
        bodies = lake.objects("RawBucket", f"undelivered/{CHANNEL}/").values()
        return [d for d in map(json.loads, bodies) if d["topic"].split("/")[2] == thing]

    with refusing_batches(lake):
        with connected(device.folder) as client:
            client.publish(topic_of(device), payload)
        (document,) = wait_until(undelivered, "the message under undelivered/")
    assert base64.b64decode(document["base64OriginalPayload"]) == payload
    assert document["ruleName"] == names.rule_name(ENVIRONMENT, CHANNEL)
    assert document["failures"][0]["failedAction"] == "FirehoseAction"
    assert lake.raw_lines(thing) == []
