"""What a device may do, and what the rule does with its messages."""

import fnmatch
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk.assertions import Template

from contracts import names
from tests.infra.conftest import ENVIRONMENTS
from tests.infra.templates import flat, iot_resource, listed, trust_of

Resources = Callable[[Template, str], list[dict[str, Any]]]
THING = "${iot:Connection.Thing.ThingName}"


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rule(environment: str, template_of: Callable[[str], Template], resources: Resources) -> Any:
    (found,) = resources(template_of(environment), "AWS::IoT::TopicRule")
    return found


@pytest.fixture
def policy(environment: str, template_of: Callable[[str], Template], resources: Resources) -> Any:
    named = names.device_policy_name(environment)
    policies = resources(template_of(environment), "AWS::IoT::Policy")
    (found,) = (policy for policy in policies if policy["PolicyName"] == named)
    return found


def test_the_rule_keeps_every_payload_byte_for_byte_in_an_envelope(
    environment: str, rule: Any
) -> None:
    assert rule["RuleName"] == f"{environment}_telemetry"
    payload = rule["TopicRulePayload"]
    assert payload["AwsIotSqlVersion"] == "2016-03-23"
    assert payload["Sql"] == (
        "SELECT encode(*, 'base64') AS payload, topic() AS topic, clientid() AS client_id, "
        "principal() AS certificate_id, timestamp() AS received_at, traceid() AS trace_id "
        f"FROM 'dt/{environment}/+/#' WHERE topic(4) = 'telemetry'"
    )


def test_the_rule_hands_messages_to_firehose_one_a_line(rule: Any) -> None:
    (action,) = rule["TopicRulePayload"]["Actions"]
    assert action["Firehose"]["Separator"] == "\n"
    assert "BatchMode" not in action["Firehose"]


def test_what_firehose_refuses_is_kept_under_undelivered(rule: Any) -> None:
    error = rule["TopicRulePayload"]["ErrorAction"]["S3"]
    assert error["Key"] == (
        'undelivered/telemetry/dt=${parse_time("yyyy-MM-dd", timestamp(), "UTC")}/${newuuid()}.json'
    )
    (action,) = rule["TopicRulePayload"]["Actions"]
    assert error["RoleArn"] == action["Firehose"]["RoleArn"]


def test_only_this_rule_of_this_account_may_use_its_role(
    environment: str, rule: Any, template_of: Callable[[str], Template]
) -> None:
    (action,) = rule["TopicRulePayload"]["Actions"]
    trust = trust_of(template_of(environment), action["Firehose"]["RoleArn"])
    assert trust["Principal"] == {"Service": "iot.amazonaws.com"}
    condition = trust["Condition"]
    source = condition["ArnLike"].pop("aws:SourceArn")
    assert iot_resource(source) == f"rule/{environment}_telemetry"
    assert condition == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {},
    }


def test_a_device_may_connect_only_as_the_thing_it_is_attached_to(policy: Any) -> None:
    connect, _ = policy["PolicyDocument"]["Statement"]
    assert connect["Effect"] == "Allow"
    assert connect["Action"] == "iot:Connect"
    assert flat(connect["Resource"]).endswith(f":client/{THING}")
    assert connect["Condition"] == {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}


def test_a_device_may_publish_to_its_own_topics_plain_and_basic_ingest_and_nothing_else(
    environment: str, policy: Any
) -> None:
    assert policy["PolicyName"] == names.device_policy_name(environment)
    statements = policy["PolicyDocument"]["Statement"]
    assert [statement["Action"] for statement in statements] == ["iot:Connect", "iot:Publish"]
    assert {flat(arn).partition(":topic/")[2] for arn in statements[1]["Resource"]} == {
        f"dt/{environment}/{THING}/telemetry",
        f"$aws/rules/{environment}_telemetry/dt/{environment}/{THING}/telemetry",
        f"dt/{environment}/{THING}/_proof",
    }


def test_no_channel_can_have_the_name_of_the_topic_for_proof(environment: str) -> None:
    level = names.proof_topic(environment, "any").rpartition("/")[2]
    assert not re.fullmatch(names.CHANNEL_PATTERN, level)


def test_no_part_of_the_device_policy_matches_more_than_it_names(policy: Any) -> None:
    arns = [
        flat(arn)
        for statement in policy["PolicyDocument"]["Statement"]
        for arn in listed(statement["Resource"])
    ]
    assert not [arn for arn in arns if "*" in arn or "?" in arn]
    # As IoT Core would fill them in for a thing whose name is a prefix of another's.
    filled = [arn.replace(THING, "sensor-1") for arn in arns]
    other = [arn.replace(THING, "sensor-10") for arn in arns]
    assert not [1 for arn in filled for foreign in other if fnmatch.fnmatchcase(foreign, arn)]


def test_the_device_policy_fits_into_what_aws_iot_takes(policy: Any) -> None:
    assert len(json.dumps(policy["PolicyDocument"], separators=(",", ":"))) <= 2048


def test_every_device_has_a_group_to_be_in(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    template_of(environment).has_resource_properties(
        "AWS::IoT::ThingGroup", {"ThingGroupName": names.thing_group_name(environment)}
    )
