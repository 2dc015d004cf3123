"""What Storage and the catalog's result bucket promise about every bucket."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk.assertions import Match, Template

from tests.infra.conftest import CONTEXT

Resources = Callable[[Template, str], list[dict[str, Any]]]


def test_every_bucket_is_private_encrypted_versioned_and_owner_enforced(
    template: Template,
) -> None:
    template.all_resources_properties(
        "AWS::S3::Bucket",
        {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "BucketEncryption": Match.object_like(
                {"ServerSideEncryptionConfiguration": Match.any_value()}
            ),
            "VersioningConfiguration": {"Status": "Enabled"},
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        },
    )


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param({"Bool": {"aws:SecureTransport": "false"}}, id="no TLS"),
        pytest.param({"NumericLessThan": {"s3:TlsVersion": 1.2}}, id="TLS older than 1.2"),
    ],
)
def test_every_bucket_refuses_requests_with(
    condition: dict[str, Any], template: Template, resources: Resources
) -> None:
    refusing = {
        policy["Bucket"]["Ref"]
        for policy in resources(template, "AWS::S3::BucketPolicy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement["Action"] == "s3:*"
        and statement["Principal"] == {"AWS": "*"}
        and statement["Condition"] == condition
    }
    assert refusing == set(template.find_resources("AWS::S3::Bucket"))


# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-s3-bucket-rule.html
_ACTIONS = {
    *("AbortIncompleteMultipartUpload", "ExpirationDate", "ExpirationInDays"),
    *("NoncurrentVersionExpirationInDays", "NoncurrentVersionTransition"),
    *("NoncurrentVersionTransitions", "Transition", "Transitions"),
}


def test_every_lifecycle_rule_is_one_that_aws_accepts(
    template: Template, resources: Resources
) -> None:
    for bucket in resources(template, "AWS::S3::Bucket"):
        rules = bucket["LifecycleConfiguration"]["Rules"]
        assert all(_ACTIONS & rule.keys() for rule in rules)
        (markers,) = (rule for rule in rules if rule.get("ExpiredObjectDeleteMarker"))
        assert not {"ExpirationInDays", "ExpirationDate", "TagFilters"} & markers.keys()


@pytest.mark.parametrize("environment", ["dev", "stage", "prod"])
def test_objects_live_as_long_as_the_environment_says(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    block = CONTEXT["environments"][environment]
    days = [
        {
            rule.get("Prefix", ""): rule["ExpirationInDays"]
            for rule in bucket["LifecycleConfiguration"]["Rules"]
            if "ExpirationInDays" in rule
        }
        for bucket in resources(template_of(environment), "AWS::S3::Bucket")
    ]
    parsed, daily = (
        block.get("parsed_retention_days", 35),
        block.get("daily_retention_days", 1095),
    )
    assert days == [
        {"": block.get("raw_retention_days", 365)},
        {"parsed/": parsed, "rejected/": parsed, "daily/": daily, "manifests/": daily},
        {"": 7},  # Athena's results
    ]


def test_old_versions_and_broken_uploads_go_in_every_bucket(
    template: Template, resources: Resources
) -> None:
    for bucket in resources(template, "AWS::S3::Bucket"):
        rules = bucket["LifecycleConfiguration"]["Rules"]
        assert any("NoncurrentVersionExpiration" in rule for rule in rules)
        assert any("AbortIncompleteMultipartUpload" in rule for rule in rules)


@pytest.mark.parametrize(
    ("environment", "policy"),
    [("dev", "Delete"), ("stage", "RetainExceptOnCreate"), ("prod", "RetainExceptOnCreate")],
)
def test_deleting_the_stack_keeps_the_data_where_it_must(
    environment: str, policy: str, template_of: Callable[[str], Template]
) -> None:
    buckets = template_of(environment).find_resources("AWS::S3::Bucket").values()
    assert {bucket["DeletionPolicy"] for bucket in buckets} == {policy}


@pytest.mark.parametrize("environment", ["stage", "prod"])
def test_an_update_that_replaces_a_bucket_keeps_the_old_one(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    buckets = template_of(environment).find_resources("AWS::S3::Bucket").values()
    assert {bucket["UpdateReplacePolicy"] for bucket in buckets} == {"Retain"}


def test_only_raw_objects_are_announced_and_only_after_the_queue_lets_them(
    template: Template,
) -> None:
    announcing = {
        name: bucket
        for name, bucket in template.find_resources("AWS::S3::Bucket").items()
        if "NotificationConfiguration" in bucket["Properties"]
    }
    ((_, bucket),) = announcing.items()
    (queue,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    assert queue["Event"] == "s3:ObjectCreated:*"
    assert queue["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "raw/telemetry/"}]
    policies = template.find_resources("AWS::SQS::QueuePolicy")
    assert set(bucket["DependsOn"]) & set(policies)
