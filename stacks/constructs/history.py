"""History: closed hours rebuilt from raw into the daily tables, every night and on request."""

import json
from collections.abc import Sequence

from aws_cdk import ArnFormat, Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from stacks.helpers.acknowledgements import acknowledge_wildcards

# The map's name in the ARNs of the executions that it starts.
_LABEL = "Hours"

# At night, when the batches of the last hour before midnight are certainly in the raw bucket.
_EVERY_NIGHT = "cron(15 1 * * ? *)"

# From the input {"from", "to", "channels", "force"}, all optional, to one item per channel and
# hour. "from" is included, "to" is not; both are ISO 8601 times. The running hour is rebuilt only
# if "to" asks for it: it will get more objects, and is rebuilt again at night.
_ITEMS = """{% (
  $hour := 3600000;
  $running := $floor($toMillis($states.context.Execution.StartTime) / $hour);
  $to := $exists($states.input.to)
    ? $min([$running + 1, $ceil($toMillis($states.input.to) / $hour)]) : $running;
  $from := $exists($states.input.from)
    ? $floor($toMillis($states.input.from) / $hour) : $to - 48;
  $channels := $exists($states.input.channels) ? $states.input.channels : CHANNELS;
  $force := $exists($states.input.force) ? $states.input.force : false;
  $hours := $from < $to ? [$from..$to - 1] : [];
  $reduce($channels, function($items, $channel) {
    $append($items, $map($hours, function($number) {
      {
        "channel": $channel,
        "hour": $substring($fromMillis($number * $hour), 0, 13),
        "force": $force
      }
    }))
  }, [])
) %}"""


class History(Construct):
    """A state machine that rebuilds hours, and a schedule that starts it for the last two days.

    Firehose retries for 24 hours, so an hour can still get objects on the day after. An hour
    whose objects are the same as in the night before costs one listing.

    Args:
        function: Rebuilds one hour of one channel.
        channels: The contracts' names.
        failures: Counts the hours that were not rebuilt. The state machine writes this metric: a
            function that runs out of memory or time, or is throttled, cannot. An execution
            succeeds although some of its hours failed.
        maximum_concurrency: Hours rebuilt at the same time, 1 to 1,000.
        tolerated_failure_percentage: When more hours than this have failed, the rest is not
            tried. 0 to 100.

    Attributes:
        state_machine: Rebuilds many hours.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        function: lambda_.IFunction,
        channels: Sequence[str],
        failures: cloudwatch.Metric,
        maximum_concurrency: int,
        tolerated_failure_percentage: int,
    ) -> None:
        super().__init__(scope, construct_id)
        items = sfn.Pass.jsonata(
            self,
            "ListHours",
            comment="One item per channel and hour: of the last two days, unless the input says",
            outputs={"items": _ITEMS.replace("CHANNELS", json.dumps(list(channels)))},
        )
        each = sfn.DistributedMap(
            self,
            "EachHour",
            label=_LABEL,
            items_path="$.items",
            map_execution_type=sfn.StateMachineType.STANDARD,
            max_concurrency=maximum_concurrency,
            tolerated_failure_percentage=tolerated_failure_percentage,
            result_path=sfn.JsonPath.DISCARD,
        )
        each.item_processor(self._one_hour(function, failures))
        self.state_machine = self._machine(items.next(each), function, failures)
        self._schedule()

    def _one_hour(self, function: lambda_.IFunction, failures: cloudwatch.Metric) -> sfn.IChainable:
        """Rebuild an hour, with retries; in the end count and report the failure."""
        rebuild = tasks.LambdaInvoke(
            self,
            "RebuildHour",
            lambda_function=function,
            payload_response_only=True,
            # Below, for every error: their names differ between a function's and Lambda's own.
            retry_on_service_exceptions=False,
        )
        rebuild.add_retry(
            errors=["States.ALL"],
            interval=Duration.seconds(2),
            backoff_rate=3,
            max_attempts=3,
            jitter_strategy=sfn.JitterType.FULL,
        )
        count = tasks.CallAwsService(
            self,
            "CountFailure",
            service="cloudwatch",
            action="putMetricData",
            iam_resources=["*"],
            parameters={
                "Namespace": failures.namespace,
                "MetricData": [
                    {
                        "MetricName": failures.metric_name,
                        "Value": 1,
                        "Unit": "Count",
                        "Dimensions": [
                            {"Name": name, "Value": value}
                            for name, value in (failures.dimensions or {}).items()
                        ],
                    }
                ],
            },
            result_path=sfn.JsonPath.DISCARD,
        )
        failed = sfn.Fail(self, "HourFailed", error_path="$.Error", cause_path="$.Cause")
        rebuild.add_catch(count.next(failed), errors=["States.ALL"])
        return rebuild

    def _machine(
        self,
        definition: sfn.IChainable,
        function: lambda_.IFunction,
        failures: cloudwatch.Metric,
    ) -> sfn.StateMachine:
        log_group = logs.LogGroup(
            self,
            "MachineLogs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = self._role(
            "MachineRole", "states.amazonaws.com", self._states_arn("stateMachine", "*")
        )
        # Written out: the CDK's own grants allow more than is needed.
        policy = self._policy(
            "MachinePolicy",
            role,
            [
                iam.PolicyStatement(
                    actions=["lambda:InvokeFunction"], resources=[function.function_arn]
                ),
                iam.PolicyStatement(
                    actions=["cloudwatch:PutMetricData"],
                    resources=["*"],
                    conditions={"StringEquals": {"cloudwatch:namespace": failures.namespace}},
                ),
                # https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
                iam.PolicyStatement(
                    actions=[
                        "logs:CreateLogDelivery",
                        "logs:DeleteLogDelivery",
                        "logs:DescribeLogGroups",
                        "logs:DescribeResourcePolicies",
                        "logs:GetLogDelivery",
                        "logs:ListLogDeliveries",
                        "logs:PutResourcePolicy",
                        "logs:UpdateLogDelivery",
                    ],
                    resources=["*"],
                ),
                # https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
                iam.PolicyStatement(
                    actions=[
                        "xray:GetSamplingRules",
                        "xray:GetSamplingTargets",
                        "xray:PutTelemetryRecords",
                        "xray:PutTraceSegments",
                    ],
                    resources=["*"],
                ),
            ],
        )
        machine = sfn.StateMachine(
            self,
            "StateMachine",
            comment="Rebuilds hours of arrival from raw into the daily tables",
            definition_body=sfn.DefinitionBody.from_chainable(definition),
            state_machine_type=sfn.StateMachineType.STANDARD,
            role=role.without_policy_updates(),
            timeout=Duration.days(1),
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=True
            ),
        )
        machine.node.add_dependency(policy)
        # The CDK's own policy for this is left out of the template, as the role may not be updated.
        # Ours is apart from the first one: it names the machine, which waits for that one.
        # https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
        machine.node.try_remove_child("DistributedMapPolicy")
        name = machine.state_machine_name
        self._policy(
            "MapPolicy",
            role,
            [
                iam.PolicyStatement(
                    actions=["states:StartExecution"], resources=[machine.state_machine_arn]
                ),
                iam.PolicyStatement(
                    actions=["states:DescribeExecution"],
                    resources=[self._states_arn("execution", f"{name}:*")],
                ),
                iam.PolicyStatement(
                    actions=["states:RedriveExecution"],
                    resources=[self._states_arn("execution", f"{name}/{_LABEL}:*")],
                ),
            ],
        )
        return machine

    def _schedule(self) -> None:
        groups = Stack.of(self).format_arn(
            service="scheduler", resource="schedule-group", resource_name="default"
        )
        role = self._role("ScheduleRole", "scheduler.amazonaws.com", groups)
        policy = self._policy(
            "SchedulePolicy",
            role,
            [
                iam.PolicyStatement(
                    actions=["states:StartExecution"],
                    resources=[self.state_machine.state_machine_arn],
                )
            ],
        )
        schedule = scheduler.CfnSchedule(
            self,
            "EveryNight",
            description="Rebuilds the hours of the last two days",
            schedule_expression=_EVERY_NIGHT,
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self.state_machine.state_machine_arn, role_arn=role.role_arn, input="{}"
            ),
        )
        schedule.node.add_dependency(policy)

    def _role(self, construct_id: str, service: str, source_arn: str) -> iam.Role:
        """A role that ``service`` may use for this account's own resources only."""
        return iam.Role(
            self,
            construct_id,
            assumed_by=iam.ServicePrincipal(
                service,
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {"aws:SourceArn": source_arn},
                },
            ),
        )

    def _policy(
        self, construct_id: str, role: iam.Role, statements: Sequence[iam.PolicyStatement]
    ) -> iam.Policy:
        policy = iam.Policy(self, construct_id, roles=[role], statements=list(statements))
        acknowledge_wildcards(
            policy, "Executions have no names beforehand; logs, X-Ray and metrics have no ARNs."
        )
        return policy

    def _states_arn(self, resource: str, name: str) -> str:
        return Stack.of(self).format_arn(
            service="states",
            resource=resource,
            resource_name=name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
