"""What doctor says about answers of AWS that no emulator gives."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from device.aws import AwsEnvironment
from device.errors import ExitStatus
from ops.doctor import deployed
from ops.doctor.context import Context
from ops.doctor.examination import Check, Stage, examine
from ops.doctor.findings import CheckOutcome
from ops.doctor.stages import delivery, parser, parser_work, registration, rule, table
from tests.unit.device.fakes import REGION
from tests.unit.ops.doctor.helpers import result

FAR_AWAY = datetime(2026, 1, 1, tzinfo=UTC)


class _Stubbers(dict[str, Stubber]):
    def __missing__(self, service: str) -> Stubber:
        made = boto3.client(
            service,  # type: ignore[call-overload]  # any service
            region_name=REGION,
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        self[service] = Stubber(made)
        self[service].activate()
        return self[service]


class Answers(Context):
    """A context whose clients give prepared answers, which botocore sees to be of AWS's form."""

    stubbers: dict[str, Stubber]

    def client(self, service: str) -> Any:
        return self.stubbers[service].client


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    context = Answers("dev", "sensor-1", "telemetry", tmp_path)
    context.stubbers = _Stubbers()
    context.environment = AwsEnvironment(
        "dev", cast("boto3.Session", context), "1", REGION, tmp_path
    )
    vars(context.deployed).update(
        rule={"ruleName": "dev_telemetry"},
        stream={
            "DeliveryStreamName": "stream",
            "DeliveryStreamStatus": "ACTIVE",
            "Destinations": [
                {
                    "ExtendedS3DestinationDescription": {
                        "BucketARN": "arn:aws:s3:::raw",
                        "BufferingHints": {"IntervalInSeconds": 60},
                        "CloudWatchLoggingOptions": {"LogGroupName": "errors"},
                    }
                }
            ],
        },
        outputs={"RawBucket": "raw", "ParsedBucket": "parsed"},
        queue_arn="arn:aws:sqs:eu-central-1:123456789012:queue",
        function={"FunctionName": "parser", "LastModified": FAR_AWAY.isoformat()},
    )
    return context


def cloudwatch_has(context: Answers, *values: float | None) -> None:
    """What CloudWatch knows, of one metric after the other; None is no data."""
    for value in values:
        point = {"Timestamp": FAR_AWAY, "Sum": value, "Maximum": value}
        context.stubbers["cloudwatch"].add_response(
            "get_metric_statistics", {"Datapoints": [] if value is None else [point]}
        )


def test_a_rule_whose_action_fails_is_seen_in_its_metrics(answers: Answers) -> None:
    cloudwatch_has(answers, 3)
    found = result(answers, rule.failures)
    assert found.outcome is CheckOutcome.FAILED
    assert "failed 3 times" in found.detail
    cloudwatch_has(answers, None, 12)
    assert result(answers, rule.failures).detail == (
        "12 messages matched in the last hour, none failed"
    )
    cloudwatch_has(answers, None, None)
    assert result(answers, rule.failures).outcome is CheckOutcome.SKIPPED


def test_a_stream_that_cannot_write_is_seen_in_its_metrics(answers: Answers) -> None:
    cloudwatch_has(answers, 3600)
    found = result(answers, delivery.freshness)
    assert found.outcome is CheckOutcome.FAILED
    assert "3600 s old" in found.detail
    assert found.remedy == "run aws logs tail --since 1h errors, and fix the error there"
    cloudwatch_has(answers, 61)
    assert result(answers, delivery.freshness).outcome is CheckOutcome.OK


def test_events_that_wait_for_long_are_a_backlog(answers: Answers) -> None:
    cloudwatch_has(answers, 4000)
    sqs = answers.stubbers["sqs"]
    sqs.add_response("get_queue_url", {"QueueUrl": "https://sqs/queue"})
    counts = dict.fromkeys(deployed._COUNTS, "7")
    sqs.add_response("get_queue_attributes", {"Attributes": counts})
    found = result(answers, parser_work.backlog)
    assert found.outcome is CheckOutcome.FAILED
    assert "waited 4000 s" in found.detail
    assert "21 events in the queue" in found.detail
    cloudwatch_has(answers, 12)
    assert result(answers, parser_work.backlog).outcome is CheckOutcome.OK


def action_failed(answers: Answers) -> Check:
    cloudwatch_has(answers, 3)
    return rule.failures


def delivery_was_late(answers: Answers) -> Check:
    cloudwatch_has(answers, 3600)
    return delivery.freshness


def object_was_given_up(answers: Answers) -> Check:
    arn = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:123456789012:dead"})
    vars(answers.deployed)["queue"] = {"RedrivePolicy": arn}
    sqs = answers.stubbers["sqs"]
    sqs.add_response("get_queue_url", {"QueueUrl": "https://sqs/dead"})
    counts = {"Attributes": dict.fromkeys(deployed._COUNTS, "1")}
    sqs.add_response("get_queue_attributes", counts)
    return parser_work.dead_letters


@pytest.mark.parametrize("fault", [action_failed, delivery_was_late, object_was_given_up])
def test_what_went_wrong_earlier_does_not_stop_a_probe(
    fault: Callable[[Answers], Check], answers: Answers
) -> None:
    stages = [
        Stage("hop", ExitStatus.RULE, {"earlier": fault(answers)}),
        Stage("probe", ExitStatus.PROBE, {"sent": lambda _: "sent"}, needs=("hop",)),
    ]
    assert [found.outcome for found in examine(answers, stages)] == ["failed", "ok"]


@pytest.mark.parametrize("status", ["CREATING", "CREATING_FAILED", "DELETING", "DELETING_FAILED"])
def test_a_stream_that_is_not_active_is_named_with_its_status(
    status: str, answers: Answers
) -> None:
    answers.deployed.stream["DeliveryStreamStatus"] = status
    found = result(answers, delivery.stream)
    assert found.outcome is CheckOutcome.FAILED
    assert status in found.detail


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ({"State": "Active", "LastUpdateStatus": "Successful"}, CheckOutcome.OK),
        ({"State": "Inactive"}, CheckOutcome.OK),
        ({"State": "Failed", "StateReason": "no such role"}, CheckOutcome.FAILED),
        (
            {
                "State": "Active",
                "LastUpdateStatus": "Failed",
                "LastUpdateStatusReason": "no such role",
            },
            CheckOutcome.FAILED,
        ),
    ],
)
def test_a_function_that_cannot_run_is_named_with_the_reason(
    state: dict[str, str], outcome: CheckOutcome, answers: Answers
) -> None:
    answers.deployed.function.update(state)
    found = result(answers, parser.function)
    assert found.outcome is outcome
    assert ("no such role" in found.detail) is (outcome is CheckOutcome.FAILED)


def test_a_queue_that_is_gone_is_named(answers: Answers) -> None:
    answers.stubbers["sqs"].add_client_error("get_queue_url", "QueueDoesNotExist")
    found = result(answers, parser.queue)
    assert found.detail == "the queue that the bucket notifies does not exist"


def test_a_queue_that_triggers_nothing_is_named(answers: Answers) -> None:
    answers.stubbers["lambda"].add_response(
        "list_event_source_mappings", {"EventSourceMappings": []}
    )
    found = result(answers, parser.trigger)
    assert (found.outcome, found.detail) == (CheckOutcome.FAILED, "the queue triggers no function")


def test_a_query_that_athena_refuses_is_named_with_the_reason(answers: Answers) -> None:
    answers.stubbers["athena"].add_client_error(
        "start_query_execution", "InvalidRequestException", "WorkGroup telemetry-dev is disabled"
    )
    found = result(answers, table.rows)
    assert found.detail == "Athena cannot count the rows: WorkGroup telemetry-dev is disabled"
    assert found.outcome is CheckOutcome.FAILED


def test_a_query_that_athena_fails_is_named_with_the_reason(answers: Answers) -> None:
    athena = answers.stubbers["athena"]
    athena.add_response("start_query_execution", {"QueryExecutionId": "q"})
    status = {"State": "FAILED", "StateChangeReason": "HIVE_BAD_DATA:\nnot Parquet"}
    athena.add_response("get_query_execution", {"QueryExecution": {"Status": status}})
    found = result(answers, table.rows)
    assert found.detail == "Athena cannot count the rows: HIVE_BAD_DATA: not Parquet"
    assert found.outcome is CheckOutcome.FAILED


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        ("ALLOWED", CheckOutcome.OK),
        ("EXPLICIT_DENY", CheckOutcome.FAILED),
        ("IMPLICIT_DENY", CheckOutcome.FAILED),
    ],
)
def test_what_the_service_says_of_the_policies_counts(
    decision: str, outcome: CheckOutcome, answers: Answers, patient: Context
) -> None:
    answers.root = patient.root
    answers.stubbers["iot"].add_response(
        "test_authorization", {"authResults": [{"authDecision": decision}]}
    )
    assert result(answers, registration.client_id).outcome is outcome


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("dt/dev/+/#", "dt/dev/a/telemetry", True),
        ("dt/dev/+/#", "dt/dev/a/telemetry/customer", True),
        ("dt/dev/+/#", "dt/dev/a", False),
        ("dt/dev/+/#", "dt/prod/a/telemetry", False),
        ("#", "anything/at/all", True),
        ("dt/+", "dt/a", True),
        ("dt/+", "dt/a/b", False),
    ],
)
def test_topic_filters_match_as_in_a_rule(topic_filter: str, topic: str, *, matches: bool) -> None:
    assert rule.topic_matches(topic_filter, topic) is matches
