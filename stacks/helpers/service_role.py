"""A role that a service of AWS assumes, with one policy that is written out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.helpers.acknowledgements import acknowledge_wildcards

# Actions and resources; a whole statement where it needs conditions.
Statement = tuple[Sequence[str], Sequence[str]] | iam.PolicyStatement


def service_role(
    scope: Construct,
    service: str,
    *,
    statements: Iterable[Statement],
    why_wildcards: str,
    conditions: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[iam.Role, iam.Policy]:
    """Make the constructs ``Role`` and ``Policy``.

    What uses the role should depend on the policy: it may act as soon as it exists.

    Args:
        scope: Gets both constructs.
        service: The service that assumes the role, such as ``iot.amazonaws.com``.
        statements: What the role may do. Managed policies and grants of the CDK allow more.
        why_wildcards: Why resources with a wildcard are needed; given to the checks at synthesis.
        conditions: Conditions of assuming the role.
    """
    role = iam.Role(
        scope,
        "Role",
        assumed_by=iam.ServicePrincipal(
            service, conditions=None if conditions is None else dict(conditions)
        ),
    )
    policy = iam.Policy(
        scope,
        "Policy",
        roles=[role],
        statements=[
            statement
            if isinstance(statement, iam.PolicyStatement)
            else iam.PolicyStatement(actions=statement[0], resources=statement[1])
            for statement in statements
        ],
    )
    acknowledge_wildcards(policy, why_wildcards)
    return role, policy


def only_for(source_arn: str) -> dict[str, dict[str, str]]:
    """Conditions under which a service assumes a role only for ``source_arn`` of this account.

    See https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    return {
        "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
        "ArnLike": {"aws:SourceArn": source_arn},
    }
