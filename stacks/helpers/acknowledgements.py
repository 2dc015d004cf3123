"""Written reasons for what the checks at synthesis would otherwise report."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept one finding of ``rule`` on ``construct``, for ``reason``."""
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def acknowledge_wildcards(policy: iam.Policy, reason: str) -> None:
    """Accept each resource of ``policy`` that has a wildcard, by its full name.

    Only resources: an action with a wildcard is still a finding.
    """
    stack = Stack.of(policy)
    for statement in stack.resolve(policy.document)["Statement"]:
        resources = statement["Resource"]
        for resource in resources if isinstance(resources, list) else [resources]:
            text = _as_reported(resource)
            if "*" in text:
                acknowledge(policy, f"AwsSolutions-IAM5[Resource::{text}]", reason)


def _as_reported(resource: str | Mapping[str, Any]) -> str:
    """How cdk-nag writes a resolved ARN: ``<LogicalId.Arn>/prefix/*``."""
    if isinstance(resource, str):
        return resource
    ((function, argument),) = resource.items()
    match function:
        case "Fn::Join":
            return "".join(map(_as_reported, argument[1]))
        case "Fn::GetAtt":
            return f"<{'.'.join(argument)}>"
        case _:
            return f"<{argument}>"
