"""A Lambda function with the settings that every function of the pipeline shares."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy, Size
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.helpers.service_role import Statement, service_role


def python_function(
    scope: Construct,
    *,
    handler: str,
    description: str,
    code: lambda_.Code,
    memory: Size,
    timeout: Duration,
    environment: Mapping[str, str],
    statements: Sequence[Statement],
    why_wildcards: str,
    ephemeral_storage: Size | None = None,
    tracing: bool = False,
) -> lambda_.Function:
    """Make a function on arm64 that logs JSON for a month, with a role of its own.

    The policy is written out: managed policies, ``grant_read`` and ``grant_write`` allow more
    than is needed.

    Args:
        scope: Gets the constructs ``Logs``, ``Role``, ``Policy`` and ``Function``.
        handler: ``package.module.function``.
        description: Shown in the console.
        code: The asset.
        memory: 128 to 10,240 MiB; the share of a CPU grows with it.
        timeout: At most 900 s.
        environment: Environment variables.
        statements: What the function may do beside writing its own log: actions and resources,
            or a whole statement.
        why_wildcards: Why resources with a wildcard are needed.
        ephemeral_storage: Size of ``/tmp``, 512 MiB by default.
        tracing: Trace invocations with X-Ray.
    """
    log_group = logs.LogGroup(
        scope,
        "Logs",
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )
    allowed: list[Statement] = [
        *statements,
        (["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn]),
    ]
    if tracing:  # X-Ray has no resources to name.
        allowed.append((["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]))
    role, policy = service_role(
        scope, "lambda.amazonaws.com", statements=allowed, why_wildcards=why_wildcards
    )
    function = lambda_.Function(
        scope,
        "Function",
        description=description,
        runtime=lambda_.Runtime.PYTHON_3_14,
        architecture=lambda_.Architecture.ARM_64,
        handler=handler,
        code=code,
        role=role.without_policy_updates(),
        memory_size=int(memory.to_mebibytes()),
        timeout=timeout,
        ephemeral_storage_size=ephemeral_storage,
        log_group=log_group,
        logging_format=lambda_.LoggingFormat.JSON,
        tracing=lambda_.Tracing.ACTIVE if tracing else lambda_.Tracing.DISABLED,
        environment=dict(environment),
    )
    # The first invocation may come as soon as there is a function.
    function.node.add_dependency(policy)
    return function
