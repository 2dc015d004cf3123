"""What a claim certificate may do, what the hook is asked, and what AWS IoT registers with."""

import fnmatch
import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk.assertions import Match, Template

from contracts import names
from tests.infra.conftest import ENVIRONMENTS
from tests.infra.templates import (
    allowed_to,
    flat,
    function_of,
    iot_resource,
    listed,
    log_retention_of,
    role_of,
    trust_of,
)

Resources = Callable[[Template, str], list[dict[str, Any]]]


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def synthesized(environment: str, template_of: Callable[[str], Template]) -> Template:
    return template_of(environment)


@pytest.fixture
def claim(environment: str, synthesized: Template, resources: Resources) -> Any:
    """What the claim policy allows, by action."""
    named = names.claim_policy_name(environment)
    policies = resources(synthesized, "AWS::IoT::Policy")
    (found,) = (policy for policy in policies if policy["PolicyName"] == named)
    allowed: dict[str, set[str]] = {}
    for statement in found["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        assert set(statement) == {"Effect", "Action", "Resource"}
        for arn in listed(statement["Resource"]):
            allowed.setdefault(statement["Action"], set()).add(iot_resource(arn))
    arns = [resource for resources in allowed.values() for resource in resources]
    longest_prefix = "arn:aws-us-gov:iot:ap-southeast-1:123456789012:"
    assert sum(len(f'"{longest_prefix}{arn}",') for arn in arns) < 2048 - 300
    return allowed


def test_a_claim_may_have_a_certificate_signed_and_registered_and_nothing_else(
    environment: str, claim: dict[str, set[str]]
) -> None:
    sign = "$aws/certificates/create-from-csr/json"
    register = f"$aws/provisioning-templates/{environment}_devices/provision/json"
    answers = {f"{topic}/{kind}" for topic in (sign, register) for kind in ("accepted", "rejected")}
    assert claim == {
        "iot:Connect": {f"client/{environment}_claim@*"},
        "iot:Publish": {f"topic/{sign}", f"topic/{register}"},
        "iot:Receive": {f"topic/{answer}" for answer in answers},
        "iot:Subscribe": {f"topicfilter/{answer}" for answer in answers},
    }


def test_a_claim_can_never_connect_in_a_devices_place(
    environment: str, claim: dict[str, set[str]]
) -> None:
    (pattern,) = claim["iot:Connect"]
    for thing in (f"{environment}_claim", "x", f"{environment}_claim-1"):
        for client_id in (names.client_id(thing), names.client_id(thing, "acme")):
            assert not fnmatch.fnmatchcase(f"client/{client_id}", pattern)
    own = names.claim_client_id(environment, "1")
    assert fnmatch.fnmatchcase(f"client/{own}", pattern)


@pytest.fixture
def provisioning(synthesized: Template, resources: Resources) -> Any:
    (found,) = resources(synthesized, "AWS::IoT::ProvisioningTemplate")
    return found


def test_a_registered_device_gets_the_devices_policy_and_group(
    environment: str, provisioning: Any
) -> None:
    assert provisioning["Enabled"] is True
    body = json.loads(provisioning["TemplateBody"])
    made = {r["Type"].rpartition("::")[2]: r["Properties"] for r in body["Resources"].values()}
    assert made == {
        "Thing": {
            "ThingName": {"Ref": "ThingName"},
            "ThingGroups": [names.thing_group_name(environment)],
        },
        "Certificate": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"},
            "Status": "ACTIVE",
            "ThingPrincipalType": "EXCLUSIVE_THING",
        },
        "Policy": {"PolicyName": names.device_policy_name(environment)},
    }


def test_a_thing_that_exists_already_keeps_its_other_groups(provisioning: Any) -> None:
    (thing,) = (
        resource
        for resource in json.loads(provisioning["TemplateBody"])["Resources"].values()
        if resource["Type"] == "AWS::IoT::Thing"
    )
    assert thing["OverrideSettings"] == {"ThingGroups": "MERGE"}


def test_nobody_is_registered_without_the_hooks_consent(
    environment: str, synthesized: Template, provisioning: Any
) -> None:
    target = provisioning["PreProvisioningHook"]["TargetArn"]
    (permission,) = synthesized.find_resources(
        "AWS::Lambda::Permission",
        {"Properties": Match.object_like({"Principal": "iot.amazonaws.com"})},
    ).values()
    assert permission["Properties"]["FunctionName"] == target
    assert permission["Properties"]["SourceAccount"] == {"Ref": "AWS::AccountId"}
    arn = flat(permission["Properties"]["SourceArn"])
    assert arn.endswith(f":provisioningtemplate/{environment}_devices")


def test_the_template_is_made_after_all_that_it_needs(synthesized: Template) -> None:
    (template,) = synthesized.find_resources("AWS::IoT::ProvisioningTemplate").values()
    needed = {
        synthesized.to_json()["Resources"][name]["Type"].partition("::")[2]
        for name in template["DependsOn"]
    }
    assert {"Lambda::Permission", "IAM::Policy", "IoT::Policy", "IoT::ThingGroup"} <= needed


def hook_of(template: Template) -> dict[str, Any]:
    return function_of(template, "provisioning_hook.handler.handler")


def test_the_hooks_log_does_not_grow_for_ever(synthesized: Template) -> None:
    assert log_retention_of(synthesized, hook_of(synthesized)) == 30


def test_the_hook_knows_what_a_things_name_is_and_answers_in_time(synthesized: Template) -> None:
    hook = hook_of(synthesized)
    assert hook["Timeout"] <= 5  # what AWS IoT waits for
    assert hook["Environment"]["Variables"] == {"THING_NAME_PATTERN": names.THING_NAME_PATTERN}


def test_the_hook_may_look_for_a_things_certificates_and_log_and_nothing_else(
    synthesized: Template,
) -> None:
    role, properties = role_of(synthesized, hook_of(synthesized)["Role"])
    allowed = allowed_to(synthesized, role)
    assert set(allowed) == {
        *("iot:ListThingPrincipals", "logs:CreateLogStream", "logs:PutLogEvents")
    }
    (things,) = allowed["iot:ListThingPrincipals"]
    assert things.endswith(":thing/*")
    assert "ManagedPolicyArns" not in properties


def test_aws_iot_registers_with_a_role_that_makes_no_policies_and_takes_nothing_away(
    environment: str, synthesized: Template, provisioning: Any
) -> None:
    role, properties = role_of(synthesized, provisioning["ProvisioningRoleArn"])
    assert "ManagedPolicyArns" not in properties
    allowed = allowed_to(synthesized, role)
    writes = {
        action
        for action in allowed
        if not action.startswith(("iot:Describe", "iot:Get", "iot:List"))
    }
    assert writes == {
        *("iot:AddThingToThingGroup", "iot:AttachPolicy", "iot:AttachPrincipalPolicy"),
        *("iot:AttachThingPrincipal", "iot:CreateThing", "iot:RegisterThing"),
        *("iot:UpdateCertificate", "iot:UpdateThing", "iot:UpdateThingGroupsForThing"),
    }
    for action in ("iot:AddThingToThingGroup", "iot:UpdateThingGroupsForThing"):
        assert {iot_resource(arn) for arn in allowed[action]} == {
            "thing/*",
            f"thinggroup/{names.thing_group_name(environment)}",
        }
    assert {iot_resource(arn) for arn in allowed["iot:UpdateThing"]} == {"thing/*"}
    (policy,) = allowed["iot:GetPolicy"]
    assert policy.endswith(f":policy/{names.device_policy_name(environment)}")


def test_only_this_template_of_this_account_may_use_the_role(
    environment: str, synthesized: Template, provisioning: Any
) -> None:
    trust = trust_of(synthesized, provisioning["ProvisioningRoleArn"])
    assert trust["Principal"] == {"Service": "iot.amazonaws.com"}
    condition = trust["Condition"]
    source = condition["ArnLike"].pop("aws:SourceArn")
    assert iot_resource(source) == f"provisioningtemplate/{provisioning['TemplateName']}"
    assert condition == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {},
    }
