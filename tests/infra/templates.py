"""Reading a synthesized template: ARNs as text, and what its roles allow and trust."""

import re
from typing import Any

from aws_cdk.assertions import Template


def flat(value: object) -> str:
    """A resolved ARN with its pseudo parameters as ``<…>``."""
    if isinstance(value, dict):
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            return "".join(flat(part) for part in argument[1])
        return f"<{argument if isinstance(argument, str) else '.'.join(argument)}>"
    return str(value)


def iot_resource(arn: object) -> str:
    """The resource part of an AWS IoT ARN of this account and region; fails on any other."""
    text = re.sub("<AWS::([A-Za-z]+)>", r"\1", flat(arn))
    partition = "(?:aws|Partition)"
    region, account = "(?:[a-z]+-[a-z]+-[0-9]|Region)", "(?:[0-9]{12}|AccountId)"
    found = re.fullmatch(rf"arn:{partition}:iot:{region}:{account}:(.+)", text)
    assert found, text
    return found[1]


def function_of(template: Template, handler: str) -> dict[str, Any]:
    """The properties of the function with ``handler``."""
    (found,) = template.find_resources(
        "AWS::Lambda::Function", {"Properties": {"Handler": handler}}
    ).values()
    return dict(found["Properties"])


def log_retention_of(template: Template, function: dict[str, Any]) -> object:
    """How many days the function's own log group keeps its events."""
    group = template.find_resources("AWS::Logs::LogGroup")[
        function["LoggingConfig"]["LogGroup"]["Ref"]
    ]
    return group["Properties"]["RetentionInDays"]


def role_of(template: Template, arn: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Logical id and properties of the role whose ARN a property holds."""
    logical_id, attribute = arn["Fn::GetAtt"]
    assert attribute == "Arn"
    return logical_id, template.find_resources("AWS::IAM::Role")[logical_id]["Properties"]


def trust_of(template: Template, arn: dict[str, Any]) -> dict[str, Any]:
    """The one statement that says who may use the role."""
    (statement,) = role_of(template, arn)[1]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == "sts:AssumeRole"
    return dict(statement)


def allowed_to(template: Template, role: str) -> dict[str, set[str]]:
    """Action → resources of every statement attached to the role."""
    allowed: dict[str, set[str]] = {}
    for policy in template.find_resources("AWS::IAM::Policy").values():
        if {"Ref": role} not in policy["Properties"]["Roles"]:
            continue
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            for action in listed(statement["Action"]):
                resources = {flat(arn) for arn in listed(statement["Resource"])}
                allowed.setdefault(action, set()).update(resources)
    return allowed


def listed(value: Any) -> list[Any]:
    """``value``, or a list of it alone."""
    return value if isinstance(value, list) else [value]
