"""ops.redrive: what could not be parsed is shown with its reason, and goes back; none is lost."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from click.testing import CliRunner, Result

from device import aws
from device.errors import AwsError, ExitStatus
from ops import redrive
from ops.parser_log import LoggedError
from tests.unit.device.fakes import REGION, Killed, Steps
from tests.unit.ops.fakes import FakeS3, client_error, environment

ARN = "arn:aws:sqs:eu-central-1:123456789012:"
SENT = datetime(2026, 11, 25, 10, 5, tzinfo=UTC)


def event(key: str) -> str:
    return json.dumps({"Records": [{"s3": {"object": {"key": key.replace("=", "%3D")}}}]})


class FakeSqs:
    """Two queues. Each change is a step, at which the process may be killed."""

    def __init__(self, *bodies: str, tasks: list[dict[str, Any]] | None = None) -> None:
        self.steps = Steps()
        self.queues: dict[str, dict[str, str]] = {"dead": {}, "live": {}}
        self._ids = map(str, itertools.count(1))
        self.hidden: set[str] = set()
        for body in bodies:
            self.queues["dead"][next(self._ids)] = body
        self.tasks = tasks  # None: the endpoint has no such operation
        self.started: list[dict[str, str]] = []

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:  # noqa: N803
        return {"QueueUrl": QueueName}

    def get_queue_attributes(self, *, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        count = len(self.queues[QueueUrl])
        policy = json.dumps({"deadLetterTargetArn": f"{ARN}dead"})
        names = ("", "NotVisible", "Delayed")
        counts = {f"ApproximateNumberOfMessages{name}": "0" for name in names}
        return {
            "Attributes": counts
            | {"ApproximateNumberOfMessages": str(count), "RedrivePolicy": policy}
        }

    def receive_message(self, *, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        seen = [id_ for id_ in self.queues[QueueUrl] if id_ not in self.hidden][:2]
        self.hidden.update(seen)
        if not seen:
            return {}
        milliseconds = str(int(SENT.timestamp() * 1000))
        return {
            "Messages": [
                {
                    "MessageId": id_,
                    "ReceiptHandle": id_,
                    "Body": self.queues[QueueUrl][id_],
                    "Attributes": {"SentTimestamp": milliseconds},
                }
                for id_ in seen
            ]
        }

    def change_message_visibility(self, *, ReceiptHandle: str, **_: Any) -> None:  # noqa: N803
        self.hidden.discard(ReceiptHandle)

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803
        self.steps.tick()
        self.queues[QueueUrl][next(self._ids)] = MessageBody
        self.steps.tick()

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        self.steps.tick()
        self.queues[QueueUrl].pop(ReceiptHandle)
        self.steps.tick()

    def list_message_move_tasks(self, **_: Any) -> dict[str, Any]:
        if self.tasks is None:
            raise client_error("ListMessageMoveTasks", "InvalidAction")
        task = self.tasks.pop(0) if len(self.tasks) > 1 else self.tasks[0]
        return {"Results": [task]} if task else {}

    def start_message_move_task(self, **arguments: str) -> None:
        self.started.append(arguments)


class Notified(FakeS3):
    def get_bucket_notification_configuration(self, **_: Any) -> dict[str, Any]:
        return {
            "QueueConfigurations": [
                {"QueueArn": f"{ARN}live", "Events": ["s3:ObjectCreated:*"], "Filter": {}}
            ]
        }


class FakeLambda:
    def list_event_source_mappings(self, **_: Any) -> dict[str, Any]:
        return {"EventSourceMappings": [{"FunctionArn": "parser"}]}

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        return {"FunctionName": "parser"}


class FakeLogs:
    def __init__(self, *messages: dict[str, Any] | str) -> None:
        self._messages = messages

    def get_paginator(self, _: str) -> "FakeLogs":
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        events = [
            {"message": m if isinstance(m, str) else json.dumps(m), "timestamp": 1000 * n}
            for n, m in enumerate(self._messages)
        ]
        return [{"events": events}]


LOGS = FakeLogs(
    {"message": "failed", "reason": "an older error", "sqs_message_id": "1"},
    {"message": "failed", "reason": "expected whole gzip", "sqs_message_id": "1"},
    "no JSON",
    "[]",
    {"message": "failed", "sqs_message_id": {"hostile": True}},
)


def queues(sqs: FakeSqs) -> redrive.Queues:
    return redrive.Queues(cast("Any", sqs), f"{ARN}dead", "dead", f"{ARN}live", "live")


def run(monkeypatch: pytest.MonkeyPatch, sqs: FakeSqs, *arguments: str, answer: str = "") -> Result:
    opened = environment(Path(), sqs=sqs, s3=Notified(), logs=LOGS, **{"lambda": FakeLambda()})
    monkeypatch.setattr(aws, "session_for", lambda _: opened)
    return CliRunner().invoke(redrive.main, ["--env", "dev", *arguments], input=answer)


KEY = "raw/telemetry/dt=2026-11-25/hour=10/a.ndjson.gz"


def test_shows_each_object_with_the_newest_error_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = FakeSqs(event(KEY), event("raw/b"), "\x1b[2J", "[" * 100_000, "{}")
    result = run(monkeypatch, sqs, "--dry-run")
    assert result.exit_code == ExitStatus.OK
    lines = result.stdout.splitlines()
    assert lines[0] == f"2026-11-25 10:05:00Z  {KEY}: failed expected whole gzip"
    assert lines[1].endswith("raw/b: the function's log has no error about it")
    assert [line.partition("  ")[2].partition(":")[0] for line in lines[2:]] == [
        "not an event of S3"
    ] * 3
    assert result.stderr == "5 events in the dead-letter queue; none moved\n"
    assert len(sqs.queues["dead"]) == 5
    assert sqs.hidden == set()


def test_json_has_the_same_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakeSqs(event(KEY)), "--dry-run", "--format", "json")
    assert json.loads(result.stdout) == {
        "dead_letters": 1,
        "moved": 0,
        "events": [
            {
                "message_id": "1",
                "raw_keys": [KEY],
                "sent_at": "2026-11-25 10:05:00Z",
                "error": "failed expected whole gzip",
                "failed_at": "1970-01-01 00:00:01Z",
            }
        ],
    }


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_asks_first_and_moves_nothing_unless_the_answer_is_yes(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = FakeSqs(event(KEY))
    assert run(monkeypatch, sqs, answer=answer).exit_code in {ExitStatus.DECLINED, ExitStatus.USAGE}
    assert len(sqs.queues["dead"]) == 1


def test_without_the_operation_each_event_is_sent_and_then_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sqs = FakeSqs(*map(event, "abc"))
    result = run(monkeypatch, sqs, "--yes")
    assert result.stderr == "3 events moved to the parser's queue\n"
    assert sqs.queues["dead"] == {}
    assert list(sqs.queues["live"].values()) == list(map(event, "abc"))


def test_killed_at_any_step_no_event_is_lost() -> None:
    bodies = list(map(event, "abc"))
    for step in itertools.count(1):
        sqs = FakeSqs(*bodies)
        sqs.steps.run_until(step)
        try:
            queues(sqs).move(3, lambda _: None)
        except Killed:
            there = {*sqs.queues["dead"].values(), *sqs.queues["live"].values()}
            assert there == set(bodies)
            sqs.steps.run_until(None)
            sqs.hidden.clear()  # as SQS does in time
            queues(sqs).move(len(sqs.queues["dead"]), lambda _: None)
            assert set(sqs.queues["live"].values()) == set(bodies)
            assert sqs.queues["dead"] == {}
        else:
            break
    assert step == 13


def test_an_event_that_comes_back_is_not_moved_for_ever() -> None:
    sqs = FakeSqs(event("a"), event("b"))
    sqs.queues["live"] = sqs.queues["dead"]  # as if each failed again at once
    assert queues(sqs).move(2, lambda _: None) == 2


def test_sqs_moves_the_events_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "_POLL_SECONDS", 0)
    running = {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 1}
    done = {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 2}
    sqs = FakeSqs(event("a"), event("b"), tasks=[{}, {}, running, done])
    result = run(monkeypatch, sqs, "--yes")
    assert result.stderr == "2 events moved to the parser's queue\n"
    assert sqs.started == [{"SourceArn": f"{ARN}dead", "DestinationArn": f"{ARN}live"}]


def test_follows_the_task_of_an_interrupted_run_instead_of_starting_another() -> None:
    running = {"Status": "RUNNING", "ApproximateNumberOfMessagesMoved": 1}
    done = {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 2}
    sqs = FakeSqs(tasks=[running, running, done])
    shown: list[int] = []
    assert queues(sqs).move(2, shown.append, lambda _: None) == 2
    assert (sqs.started, shown) == ([], [1])


@pytest.mark.parametrize("task", [{"Status": "FAILED", "FailureReason": "AccessDenied"}, {}])
def test_a_task_that_fails_or_never_appears_is_an_error(task: dict[str, Any]) -> None:
    sqs = FakeSqs(tasks=[task])
    with pytest.raises(AwsError, match="AccessDenied" if task else "got none"):
        queues(sqs).move(2, lambda _: None, lambda _: None)


def test_an_error_of_the_task_is_not_taken_for_an_endpoint_without_it() -> None:
    sqs = FakeSqs(tasks=[{}])
    sqs.start_message_move_task = _denied  # type: ignore[method-assign]  # for this test
    with pytest.raises(ClientError):
        queues(sqs).move(2, lambda _: None)


def _denied(**_: str) -> None:
    raise client_error("StartMessageMoveTask", "AccessDenied")


def test_the_requests_and_answers_of_a_task_are_of_the_form_that_aws_documents() -> None:
    sqs = boto3.client("sqs", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    asked = {"SourceArn": f"{ARN}dead", "MaxResults": 1}
    with Stubber(sqs) as stubber:
        stubber.add_response("list_message_move_tasks", {"Results": []}, asked)
        stubber.add_response(
            "start_message_move_task",
            {"TaskHandle": "handle"},
            {"SourceArn": f"{ARN}dead", "DestinationArn": f"{ARN}live"},
        )
        for status, moved in (("RUNNING", 1), ("COMPLETED", 2)):
            task = {"Status": status, "ApproximateNumberOfMessagesMoved": moved}
            stubber.add_response("list_message_move_tasks", {"Results": [task]}, asked)
        aws_queues = redrive.Queues(sqs, f"{ARN}dead", "dead", f"{ARN}live", "live")
        assert aws_queues.move(2, lambda _: None, lambda _: None) == 2
        stubber.assert_no_pending_responses()


def test_an_empty_queue_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakeSqs(), "--yes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "the dead-letter queue is empty; nothing to do\n"


def test_a_bucket_that_notifies_no_queue_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notified, "get_bucket_notification_configuration", lambda _, **__: {})
    result = run(monkeypatch, FakeSqs())
    assert result.exit_code == ExitStatus.NO_STACK
    assert len(result.stderr.splitlines()) == 1
    assert "run cdk deploy -c env=dev" in result.stderr


def test_older_errors_are_read_only_for_events_without_a_newer_one() -> None:
    asked: list[timedelta] = []

    def errors(since: datetime) -> list[LoggedError]:
        asked.append(datetime.now(UTC) - since)
        return [LoggedError(SENT, "error", "1")] if len(asked) == 2 else []

    (letter,) = redrive.explain([redrive.DeadLetter("1", (), SENT)], errors)
    assert letter.error is not None
    assert [round(each.total_seconds() / 3600) for each in asked] == [1, 24]
