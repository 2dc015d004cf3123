"""End to end, on a stack of its own: a device falls silent, and is back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.local.conftest import wait_until
from tests.local.project import Project

LOCAL = ("--env", "local")
# Twice the ten minutes of the contract, and the time of delivery.
LIMIT = timedelta(minutes=30)

_AWS = """
import json, sys
from device import aws
session = aws.session_for("local").session
functions, sns, sqs = (session.client(name) for name in ("lambda", "sns", "sqs"))

def subscribe():
    (topic,) = sns.list_topics()["Topics"]
    url = sqs.create_queue(QueueName="mails")["QueueUrl"]
    arn = sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
               "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic["TopicArn"], Protocol="sqs", Endpoint=arn,
                  Attributes={"RawMessageDelivery": "true"})

def watch(time):
    (name,) = (one["FunctionName"] for one in functions.list_functions()["Functions"]
               if one["Handler"] == "telemetry_rebuild.silence_handler.handler")
    answer = functions.invoke(FunctionName=name, Payload=json.dumps({"time": time}))
    assert "FunctionError" not in answer, answer["Payload"].read()
    found = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="mails")["QueueUrl"],
                                MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=sqs.get_queue_url(QueueName="mails")["QueueUrl"],
                           ReceiptHandle=message["ReceiptHandle"])
    print(json.dumps([message["Body"] for message in found]))

globals()[sys.argv[1]](*sys.argv[2:])
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    contract = made.folder / "contracts" / "telemetry.json"
    contract.write_text(json.dumps(json.loads(contract.read_text()) | {"x-expected-every": "10m"}))
    settings = made.folder / "cdk.json"
    document = json.loads(settings.read_text())
    document["context"]["environments"]["local"]["alarm_email"] = "ops@example.com"
    settings.write_text(json.dumps(document))
    (made.folder / "as_aws.py").write_text(_AWS)
    made.commit()
    yield made
    made.run("down")


def watch(project: Project, moment: datetime) -> list[list[str]]:
    """Run the function as at ``moment``; return the names in each notification."""
    bodies: list[str] = json.loads(project.module("as_aws", "watch", moment.isoformat()))
    return [
        [line.partition(":")[0] for line in body.partition("\n\n")[0].splitlines()]
        for body in bodies
    ]


def publish(project: Project, thing: str, rows: int) -> None:
    project.module("device.publish", *LOCAL, "--thing", thing, "--count", "1")

    def there() -> bool:
        sql = f"SELECT count(*) AS n FROM telemetry WHERE thing_name = '{thing}'"
        answer: dict[str, Any] = json.loads(
            project.module("ops.query", *LOCAL, sql, "--format", "json")
        )
        return bool(answer["n"] == rows)

    wait_until(there, f"the row of {thing}")


def test_silent_devices_are_told_once_and_told_again_when_they_are_back(project: Project) -> None:
    code, output = project.run("up", "--detach")
    assert code == 0, output
    project.module("as_aws", "subscribe")
    for thing in ("other", "station"):
        project.module("device.provision", *LOCAL, thing)
        publish(project, thing, 1)
    between = datetime.now(UTC)
    assert watch(project, between) == []
    assert watch(project, between + LIMIT) == [["other", "station"]]
    assert watch(project, between + 2 * LIMIT) == []
    publish(project, "station", 2)
    assert watch(project, between + LIMIT) == [["station"]]
    assert watch(project, between + LIMIT) == []
