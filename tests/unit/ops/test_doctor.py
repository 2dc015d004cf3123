"""ops.doctor: how checks run, and what is decided without AWS."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from click.testing import CliRunner

from device.errors import AwsError, ExitStatus
from device.identity import PROJECT_ROOT
from device.registry.registration import provision
from ops.doctor import identity_checks, pipeline_checks, policies
from ops.doctor.__main__ import STAGES, main, stages
from ops.doctor.context import Context, Skipped
from ops.doctor.findings import Check, Failed, Finding, Outcome, Stage, examine
from ops.doctor.identity_checks import IDENTITY
from ops.doctor.pipeline_checks import topic_matches
from tests.unit.device.fakes import REGION, FakeIot, environment


def good(_: Context) -> str:
    return "seen"


def bad(_: Context) -> str:
    raise Failed("broken", "run this")


def examined(*made: Stage) -> list[Finding]:
    return list(examine(Context("dev", "sensor-1", "telemetry", Path()), made))


def outcomes(*made: Stage) -> list[tuple[str, str]]:
    return [(finding.outcome.value, finding.detail) for finding in examined(*made)]


def test_a_stage_ends_at_its_first_failure_and_the_next_one_goes_on() -> None:
    assert outcomes(
        Stage("one", ExitStatus.RULE, {"a": good, "b": bad, "c": good}),
        Stage("two", ExitStatus.TABLE, {"d": good}),
    ) == [("ok", "seen"), ("failed", "broken"), ("skipped", "b failed"), ("ok", "seen")]


def test_a_stage_that_needs_a_failed_one_is_skipped() -> None:
    assert outcomes(
        Stage("one", ExitStatus.RULE, {"a": bad}),
        Stage("two", ExitStatus.TABLE, {"b": good}, needs=("one",)),
    ) == [("failed", "broken"), ("skipped", "one failed")]


def test_what_is_skipped_stops_nothing() -> None:
    def unknown(_: Context) -> str:
        raise Skipped("no metrics")

    made = Stage("one", ExitStatus.RULE, {"a": unknown, "b": good})
    assert outcomes(made) == [("skipped", "no metrics"), ("ok", "seen")]


def test_a_missing_permission_is_a_reason_to_skip() -> None:
    def forbidden(_: Context) -> str:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetTopicRule")

    (finding,) = examined(Stage("one", ExitStatus.RULE, {"a": forbidden}))
    assert finding.outcome is Outcome.SKIPPED
    assert "do not permit GetTopicRule" in finding.detail


def test_our_own_errors_come_with_what_mends_them() -> None:
    def refused(_: Context) -> str:
        raise AwsError("expected one thing, got another; run that")

    (finding,) = examined(Stage("one", ExitStatus.RULE, {"a": refused}))
    assert (finding.detail, finding.mend) == ("expected one thing, got another", "run that")


def test_without_a_device_or_an_account_what_needs_them_is_skipped(tmp_path: Path) -> None:
    context = Context("dev", "sensor-1", "telemetry", tmp_path)
    later = [stage for stage in STAGES if stage.name not in {"identity", "environment"}]
    assert {finding.outcome for finding in examine(context, later)} == {Outcome.SKIPPED}


def test_the_probe_is_sent_only_when_nothing_has_failed() -> None:
    chosen = stages(connect=True, send=True)
    assert chosen[-1].needs == tuple(stage.name for stage in STAGES)


def test_a_check_that_trips_over_the_unexpected_stops_no_other() -> None:
    def surprised(_: Context) -> str:
        raise KeyError("Statement")

    made = Stage("one", ExitStatus.RULE, {"a": surprised, "b": good})
    seen = "the check itself failed, on what it did not expect: KeyError('Statement')"
    assert outcomes(made) == [("skipped", seen), ("ok", "seen")]


def test_an_unknown_environment_is_one_line() -> None:
    result = CliRunner().invoke(main, ["--env", "nope", "sensor-1"])
    assert result.exit_code == ExitStatus.ENVIRONMENT
    assert result.stdout == ""
    assert result.stderr.startswith("error: expected an environment of cdk.json (dev, ")
    assert result.stderr.count("\n") == 1


# What is wrong with the files of an identity.


@pytest.fixture
def patient(tmp_path: Path) -> Context:
    provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None)
    return Context("dev", "sensor-1", "telemetry", tmp_path)


def failures(context: Context, *of: Stage) -> list[Finding]:
    return [found for found in examine(context, of) if found.outcome is Outcome.FAILED]


def folder_open(context: Context) -> None:
    context.folder.chmod(0o755)


def description_cut(context: Context) -> None:
    (context.folder / "device.json").write_text("{")


def description_of_another(context: Context) -> None:
    path = context.folder / "device.json"
    path.write_text(path.read_text().replace("sensor-1", "sensor-2"))


def certificate_cut(context: Context) -> None:
    context.identity.certificate_path.write_text("-----BEGIN CERTIFICATE-----")


def key_cut(context: Context) -> None:
    context.identity.key_path.write_text("-----BEGIN PRIVATE KEY-----")


def ca_cut(context: Context) -> None:
    context.identity.ca_path.write_text("")


def interrupted(context: Context) -> None:
    (context.folder / "provisioning.json").write_text("{}")


@pytest.mark.parametrize(
    ("fault", "check", "mend"),
    [
        (folder_open, "modes", "run chmod 700 "),
        (description_cut, "files", "restore it from where it was made, or move "),
        (description_of_another, "files", "move the folder to where its device.json says"),
        (interrupted, "files", "run python -m device.provision --env dev sensor-1"),
        (certificate_cut, "pair", "run python -m device.provision --env dev sensor-1 again"),
        (key_cut, "pair", "restore it from where it was made, or move "),
        (ca_cut, "ca", "run python -m device.provision --env dev sensor-1"),
    ],
)
def test_a_fault_of_the_files_is_named_with_what_mends_it(
    fault: Callable[[Context], None], check: str, mend: str, patient: Context
) -> None:
    assert failures(patient, IDENTITY) == []
    fault(patient)
    (found,) = failures(patient, IDENTITY)
    assert found.check == check
    assert found.mend is not None
    assert found.mend.startswith(mend)


@pytest.mark.parametrize(
    ("now", "seen", "mend"),
    [  # The certificate is of 2026 to 2049.
        (datetime(1970, 1, 1, 0, 3, tzinfo=UTC), "valid from 2026-01-01", "set this machine's"),
        (datetime(2050, 1, 1, tzinfo=UTC), "has expired on 2049-12-31", "run python -m device.rot"),
    ],
)
def test_a_certificate_that_is_not_valid_yet_or_any_more(
    now: datetime, seen: str, mend: str, patient: Context
) -> None:
    (found,) = failures(replace(patient, clock=lambda: now), IDENTITY)
    assert found.check == "dates"
    assert seen in found.detail
    assert str(found.mend).startswith(mend)


# What AWS may say that no emulator does.

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
    vars(context).update(
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


def result(context: Context, check: Check) -> Finding:
    (found,) = examine(context, [Stage("stage", ExitStatus.RULE, {"check": check})])
    return found


def metrics(context: Answers, *values: float | None) -> None:
    """What CloudWatch knows, of one metric after the other; None is no data."""
    for value in values:
        point = {"Timestamp": FAR_AWAY, "Sum": value, "Maximum": value}
        context.stubbers["cloudwatch"].add_response(
            "get_metric_statistics", {"Datapoints": [] if value is None else [point]}
        )


def test_a_rule_whose_action_fails_is_seen_in_its_metrics(answers: Answers) -> None:
    metrics(answers, 12, 3)
    found = result(answers, pipeline_checks.rule_metrics)
    assert found.outcome is Outcome.FAILED
    assert "failed 3 times" in found.detail
    metrics(answers, 12, None)
    assert result(answers, pipeline_checks.rule_metrics).detail == (
        "12 messages matched in the last hour, none failed"
    )
    metrics(answers, None, None)
    assert result(answers, pipeline_checks.rule_metrics).outcome is Outcome.SKIPPED


def test_a_stream_that_cannot_write_is_seen_in_its_metrics(answers: Answers) -> None:
    metrics(answers, 3600)
    found = result(answers, pipeline_checks.stream_metrics)
    assert found.outcome is Outcome.FAILED
    assert "3600 s old" in found.detail
    assert found.mend == "run aws logs tail --since 1h errors, and do what it says"
    metrics(answers, 61)
    assert result(answers, pipeline_checks.stream_metrics).outcome is Outcome.OK


def test_events_that_wait_for_long_are_a_backlog(answers: Answers) -> None:
    metrics(answers, 4000)
    sqs = answers.stubbers["sqs"]
    sqs.add_response("get_queue_url", {"QueueUrl": "https://sqs/queue"})
    counts = dict.fromkeys(pipeline_checks._COUNTS, "7")
    sqs.add_response("get_queue_attributes", {"Attributes": counts})
    found = result(answers, pipeline_checks.backlog)
    assert found.outcome is Outcome.FAILED
    assert "waited 4000 s" in found.detail
    assert "21 wait" in found.detail
    metrics(answers, 12)
    assert result(answers, pipeline_checks.backlog).outcome is Outcome.OK


@pytest.mark.parametrize("status", ["CREATING", "CREATING_FAILED", "DELETING", "DELETING_FAILED"])
def test_a_stream_that_is_not_active_is_named_with_its_status(
    status: str, answers: Answers
) -> None:
    answers.stream["DeliveryStreamStatus"] = status
    found = result(answers, pipeline_checks.stream_active)
    assert found.outcome is Outcome.FAILED
    assert status in found.detail


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ({"State": "Active", "LastUpdateStatus": "Successful"}, Outcome.OK),
        ({"State": "Inactive"}, Outcome.OK),
        ({"State": "Failed", "StateReason": "no such role"}, Outcome.FAILED),
        (
            {
                "State": "Active",
                "LastUpdateStatus": "Failed",
                "LastUpdateStatusReason": "no such role",
            },
            Outcome.FAILED,
        ),
    ],
)
def test_a_function_that_cannot_run_is_named_with_the_reason(
    state: dict[str, str], outcome: Outcome, answers: Answers
) -> None:
    answers.function.update(state)
    found = result(answers, pipeline_checks.function_state)
    assert found.outcome is outcome
    assert ("no such role" in found.detail) is (outcome is Outcome.FAILED)


def test_a_queue_that_is_gone_is_named(answers: Answers) -> None:
    answers.stubbers["sqs"].add_client_error("get_queue_url", "QueueDoesNotExist")
    found = result(answers, pipeline_checks.queue_policy)
    assert found.detail == "the queue that the bucket tells does not exist"


def test_a_queue_that_triggers_nothing_is_named(answers: Answers) -> None:
    answers.stubbers["lambda"].add_response(
        "list_event_source_mappings", {"EventSourceMappings": []}
    )
    found = result(answers, pipeline_checks.trigger)
    assert (found.outcome, found.detail) == (Outcome.FAILED, "the queue triggers no function")


def test_a_query_that_athena_refuses_is_named_with_the_reason(answers: Answers) -> None:
    answers.stubbers["athena"].add_client_error(
        "start_query_execution", "InvalidRequestException", "WorkGroup telemetry-dev is disabled"
    )
    found = result(answers, pipeline_checks.table_count)
    assert found.detail == "Athena cannot count the rows: WorkGroup telemetry-dev is disabled"
    assert found.outcome is Outcome.FAILED


def test_a_query_that_athena_fails_is_named_with_the_reason(answers: Answers) -> None:
    athena = answers.stubbers["athena"]
    athena.add_response("start_query_execution", {"QueryExecutionId": "q"})
    status = {"State": "FAILED", "StateChangeReason": "HIVE_BAD_DATA:\nnot Parquet"}
    athena.add_response("get_query_execution", {"QueryExecution": {"Status": status}})
    found = result(answers, pipeline_checks.table_count)
    assert found.detail == "Athena cannot count the rows: HIVE_BAD_DATA: not Parquet"
    assert found.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        ("ALLOWED", Outcome.OK),
        ("EXPLICIT_DENY", Outcome.FAILED),
        ("IMPLICIT_DENY", Outcome.FAILED),
    ],
)
def test_what_the_service_says_of_the_policies_counts(
    decision: str, outcome: Outcome, answers: Answers, patient: Context
) -> None:
    answers.root = patient.root
    answers.stubbers["iot"].add_response(
        "test_authorization", {"authResults": [{"authDecision": decision}]}
    )
    assert result(answers, identity_checks.client_id).outcome is outcome


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
    assert topic_matches(topic_filter, topic) is matches


ARN = "arn:aws:iot:eu-central-1:123456789012:"
THING = "${iot:Connection.Thing.ThingName}"
CONNECT = {
    "Effect": "Allow",
    "Action": "iot:Connect",
    "Resource": f"{ARN}client/{THING}",
    "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
}
PUBLISH = {"Effect": "Allow", "Action": ["iot:Publish"], "Resource": [f"{ARN}topic/dt/{THING}/*"]}


def allows(
    action: str, resource: str, *statements: dict[str, Any], things: tuple[str, ...] = ("a",)
) -> bool:
    values = policies.variables("a", things)
    return policies.allows([{"Statement": list(statements)}], action, ARN + resource, values)


def test_a_device_may_do_what_its_policy_says_of_its_own_thing() -> None:
    assert allows("iot:Connect", "client/a", CONNECT, PUBLISH)
    assert allows("iot:Publish", "topic/dt/a/telemetry", CONNECT, PUBLISH)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("iot:Connect", "client/b"),
        ("iot:Publish", "topic/dt/b/telemetry"),
        ("iot:Publish", "topic/dt/a"),
        ("iot:Subscribe", "topic/dt/a/telemetry"),
    ],
)
def test_and_nothing_else(action: str, resource: str) -> None:
    assert not allows(action, resource, CONNECT, PUBLISH)


def test_a_certificate_that_is_not_attached_has_no_thing_variables() -> None:
    assert not allows("iot:Connect", "client/a", CONNECT, things=())
    assert not allows("iot:Publish", "topic/dt/a/telemetry", PUBLISH, things=("b",))


def test_a_denial_counts_more_than_any_permission() -> None:
    deny = {"Effect": "Deny", "Action": "iot:*", "Resource": "*"}
    assert not allows("iot:Connect", "client/a", CONNECT, deny)


def test_a_wildcard_in_a_things_name_is_a_character() -> None:
    values = {"iot:Connection.Thing.ThingName": "*"}
    document = {"Statement": [PUBLISH]}
    assert not policies.allows([document], "iot:Publish", f"{ARN}topic/dt/other/x", values)


def test_an_unknown_condition_never_allows_and_always_denies() -> None:
    strange = {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    assert not allows("iot:Publish", "topic/dt/a/x", {**PUBLISH, **strange})
    deny = {**PUBLISH, **strange, "Effect": "Deny"}
    assert not allows("iot:Publish", "topic/dt/a/x", PUBLISH, deny)


@pytest.mark.parametrize(
    ("operator", "expected", "held"),
    [
        ("StringEquals", "a", True),
        ("StringEquals", ["b", "a"], True),
        ("StringEquals", "b", False),
        ("StringLike", "?", True),
        ("StringLike", "b*", False),
    ],
)
def test_conditions_on_the_client_id(operator: str, expected: object, *, held: bool) -> None:
    condition = {"Condition": {operator: {"iot:ClientId": expected}}}
    assert allows("iot:Publish", "topic/dt/a/x", {**PUBLISH, **condition}) is held


def test_the_command_explains_itself() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "ops.doctor", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT_ROOT,
    )
    assert found.stdout.startswith("Usage: python -m ops.doctor")
