"""device.doctor: how checks run, and what is decided without AWS."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from device.doctor import policies
from device.doctor.__main__ import STAGES, stages
from device.doctor.context import Context, Skipped
from device.doctor.findings import Failed, Finding, Outcome, Stage, examine
from device.doctor.pipeline_checks import topic_matches
from device.errors import AwsError, ExitStatus
from device.identity import PROJECT_ROOT


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
        [sys.executable, "-m", "device.doctor", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT_ROOT,
    )
    assert found.stdout.startswith("Usage: python -m device.doctor")
