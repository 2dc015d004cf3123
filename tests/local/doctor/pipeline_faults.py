"""Faults of what is deployed, from the rule to the table.

Each fault lasts as long as its context.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from contracts import names
from device.identity import Identity
from local.state import ENVIRONMENT, ROOT
from tests.local.conftest import CHANNEL, Lake, wait_for, wait_until

RULE = names.rule_name(ENVIRONMENT, CHANNEL)


@contextmanager
def changed_rule(lake: Lake, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
    iot = lake.client("iot")
    rule = iot.get_topic_rule(ruleName=RULE)["rule"]
    keys = ("sql", "description", "awsIotSqlVersion", "ruleDisabled", "actions", "errorAction")
    payload = {key: rule[key] for key in keys}
    iot.replace_topic_rule(ruleName=RULE, topicRulePayload={**payload, **change(payload)})
    try:
        yield
    finally:
        iot.replace_topic_rule(ruleName=RULE, topicRulePayload=payload)


@contextmanager
def rule_deleted(lake: Lake, _patient: Identity) -> Iterator[None]:
    iot = lake.client("iot")
    with changed_rule(lake, lambda _: {}):  # which makes it again
        rule = iot.get_topic_rule(ruleName=RULE)["rule"]
        keys = ("sql", "description", "awsIotSqlVersion", "ruleDisabled", "actions", "errorAction")
        iot.delete_topic_rule(ruleName=RULE)
        try:
            yield
        finally:
            payload = {key: rule[key] for key in keys}
            iot.create_topic_rule(ruleName=RULE, topicRulePayload=payload)


def rule_without_action(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    def others(rule: dict[str, Any]) -> dict[str, Any]:
        return {"actions": [action for action in rule["actions"] if "firehose" not in action]}

    return changed_rule(lake, others)


def rule_without_error_action(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_rule(lake, lambda rule: {"errorAction": rule["actions"][0]})


def rule_disabled(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    return changed_rule(lake, lambda _: {"ruleDisabled": True})


def rule_on_another_topic(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_rule(lake, lambda rule: {"sql": rule["sql"].replace("'dt/", "'other/")})


def rule_on_another_channel(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_rule(
        lake, lambda rule: {"sql": rule["sql"].replace("= 'telemetry'", "= 'other'")}
    )


def rule_to_no_stream(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    def to_none(rule: dict[str, Any]) -> dict[str, Any]:
        actions = json.loads(json.dumps(rule["actions"]))
        for action in actions:
            if "firehose" in action:
                action["firehose"]["deliveryStreamName"] = "no-such-stream"
        return {"actions": actions}

    return changed_rule(lake, to_none)


@contextmanager
def object_in(lake: Lake, key: str, body: bytes, bucket: str = "RawBucket") -> Iterator[None]:
    s3, bucket = lake.client("s3"), lake.bucket(bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    try:
        yield
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def undelivered(lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    document = {
        "topic": names.topic(ENVIRONMENT, patient.device.thing_name, CHANNEL),
        "failures": [{"errorMessage": "not authorized to perform firehose:PutRecord"}],
    }
    day = f"{datetime.now(UTC):dt=%Y-%m-%d}"
    key = f"undelivered/{CHANNEL}/{day}/made-by-a-test.json"
    return object_in(lake, key, json.dumps(document).encode())


def given_up(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    hour = f"{datetime.now(UTC):dt=%Y-%m-%d/hour=%H}"
    return object_in(lake, f"failed/processing-failed/{CHANNEL}/{hour}/made-by-a-test", b"{}")


@contextmanager
def no_notification(lake: Lake, _patient: Identity) -> Iterator[None]:
    s3, bucket = lake.client("s3"), lake.bucket("RawBucket")
    before = s3.get_bucket_notification_configuration(Bucket=bucket)
    before.pop("ResponseMetadata")
    put = s3.put_bucket_notification_configuration
    put(Bucket=bucket, NotificationConfiguration={})
    try:
        yield
    finally:
        put(Bucket=bucket, NotificationConfiguration=before)


@contextmanager
def changed_queue(lake: Lake, name: str, value: str) -> Iterator[None]:
    sqs, url = lake.client("sqs"), lake.resource("AWS::SQS::Queue", "ParserFunctionQueue")
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


def queue_closed_to_s3(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    condition = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    policy = {"Version": "2012-10-17", "Statement": [{**deny, **condition}]}
    return changed_queue(lake, "Policy", json.dumps(policy))


def function_of(lake: Lake) -> str:
    return lake.resource("AWS::Lambda::Function", "ParserFunction")


@contextmanager
def trigger_disabled(lake: Lake, _patient: Identity) -> Iterator[None]:
    client = lake.client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName=function_of(lake))[
        "EventSourceMappings"
    ]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@contextmanager
def function_throttled(lake: Lake, _patient: Identity) -> Iterator[None]:
    client, name = lake.client("lambda"), function_of(lake)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=name)


@contextmanager
def function_failing(lake: Lake, patient: Identity) -> Iterator[None]:
    client, name = lake.client("lambda"), function_of(lake)
    before = client.get_function_configuration(FunctionName=name)
    variables = before["Environment"]["Variables"]
    update = client.update_function_configuration
    broken = {**variables, "PARSED_BUCKET": "no-such-bucket"}
    rows = len(lake.rows(patient.device.thing_name))

    def errors() -> list[Any]:
        found = lake.client("logs").filter_log_events(
            logGroupName=before["LoggingConfig"]["LogGroup"],
            filterPattern="ERROR",
            startTime=int(started.timestamp() * 1000),
        )
        return list(found["events"])

    # Soon enough visible again for the test, and not given up before that: the queue allows five
    # attempts.
    with changed_queue(lake, "VisibilityTimeout", "6"):
        started = datetime.now(UTC)
        update(FunctionName=name, Environment={"Variables": broken})
        try:
            send(lake, patient, {"temperature": 20.5, "humidity": 40, "battery": 9, "status": "ok"})
            wait_for(errors, 1, "errors in the function's log")
            yield
        finally:
            update(FunctionName=name, Environment={"Variables": variables})
        wait_until(lambda: len(lake.rows(patient.device.thing_name)) > rows, "the reading")


def send(lake: Lake, patient: Identity, reading: dict[str, Any]) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "device.publish", "--env", ENVIRONMENT),
            *("--thing", patient.device.thing_name, "--no-check"),
            *("--message", json.dumps({"timestamp": now, **reading})),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def dead_letter(lake: Lake, _patient: Identity) -> Iterator[None]:
    sqs = lake.client("sqs")
    url = lake.resource("AWS::SQS::Queue", "ParserFunctionDeadLetterQueue")
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    try:
        yield
    finally:
        sqs.purge_queue(QueueUrl=url)


@contextmanager
def table_dropped(lake: Lake, _patient: Identity) -> Iterator[None]:
    glue, database = lake.client("glue"), names.database_name(ENVIRONMENT)
    table = glue.get_table(DatabaseName=database, Name=CHANNEL)["Table"]
    keys = ("Name", "Description", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")
    glue.delete_table(DatabaseName=database, Name=CHANNEL)
    try:
        yield
    finally:
        glue.create_table(DatabaseName=database, TableInput={key: table[key] for key in keys})


@contextmanager
def table_elsewhere(lake: Lake, _patient: Identity) -> Iterator[None]:
    glue, database = lake.client("glue"), names.database_name(ENVIRONMENT)
    table = glue.get_table(DatabaseName=database, Name=CHANNEL)["Table"]
    keys = ("Name", "Description", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")
    before = {key: table[key] for key in keys}
    storage = {**table["StorageDescriptor"], "Location": "s3://no-such-bucket/parsed/"}
    update = glue.update_table
    update(DatabaseName=database, TableInput={**before, "StorageDescriptor": storage})
    try:
        yield
    finally:
        update(DatabaseName=database, TableInput=before)


def rubbish_in_table(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    hour = f"{datetime.now(UTC):dt=%Y-%m-%d/hour=%H}"
    key = f"parsed/{CHANNEL}/{hour}/made-by-a-test.parquet"
    return object_in(lake, key, b"this is not Parquet", bucket="ParsedBucket")
