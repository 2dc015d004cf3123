"""Monitoring: an alarm for each way in which data can be lost or stop unnoticed."""

from collections.abc import Callable, Sequence

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stacks.helpers.alarms import AlarmRow, channel_alarms
from stacks.helpers.channel_metrics import ChannelMetrics, iot_metric

# Where somebody who gets the mail reads on; the section's anchor follows.
_RUNBOOK = "docs/runbook.md"


class Monitoring(Construct):
    """Alarms over the channels, history and fleet provisioning.

    The description of an alarm, which its mail shows, names the channel or part, the hop, the
    meaning, and the section of the runbook.

    Args:
        alarm_email: Receives every alarm, after confirming the subscription. None if alarms are
            only shown in CloudWatch.
        metric_math: Add also the alarm that compares metrics, which the emulator cannot make.

    Attributes:
        topic: Where alarms are sent; None without ``alarm_email``.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alarm_email: str | None,
        metric_math: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        self._metric_math = metric_math
        self.topic: sns.Topic | None = None
        if alarm_email is not None:
            self.topic = sns.Topic(self, "Alarms", enforce_ssl=True)
            self.topic.add_subscription(subscriptions.EmailSubscription(alarm_email))
            # A topic's own policy replaces the default one, so CloudWatch must be named.
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
            self.topic.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                    actions=["sns:Publish"],
                    resources=[self.topic.topic_arn],
                    conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                )
            )

    def watch_channel(
        self, metrics: ChannelMetrics, *, silence: Duration | None
    ) -> Sequence[cloudwatch.Alarm]:
        """Add the alarms of one channel, and return them.

        Args:
            metrics: The channel.
            silence: A channel without a message for this time is an alarm: whole minutes, at
                most a day. None if a channel may be silent.
        """
        return self._add(
            metrics.channel,
            channel_alarms(metrics, silence=silence, metric_math=self._metric_math),
        )

    def watch_provisioning(self, template_name: str) -> Sequence[cloudwatch.Alarm]:
        """Add the alarm of fleet provisioning by claim, and return it."""
        return self._add(
            "Provisioning",
            (
                AlarmRow(
                    "Registrations",
                    "device to AWS IoT",
                    iot_metric("RegisterThingFailed", TemplateName=template_name),
                    0,
                    "A claim certificate was used, and no device was registered: the hook refused "
                    "the name, or AWS IoT could not register it. A refused device cannot publish. "
                    "A claim certificate may be in the wrong hands.",
                ),
            ),
        )

    def watch_silent_devices(self, function: lambda_.IFunction) -> Sequence[cloudwatch.Alarm]:
        """Add the alarm of the function that looks for silent devices, and return it."""
        return self._add(
            "SilentDevices",
            (
                AlarmRow(
                    "WatchFailed",
                    "live table to mail",
                    function.metric_errors(),
                    0,
                    "The function that looks for silent devices failed, so nobody is told of "
                    "them. No data is at risk, and the next hour tries again.",
                ),
            ),
        )

    def watch_history(
        self, state_machine: sfn.StateMachine, rebuild_metric: Callable[[str], cloudwatch.Metric]
    ) -> Sequence[cloudwatch.Alarm]:
        """Add the alarms of the state machine that rebuilds hours, and return them.

        Args:
            state_machine: Started every night.
            rebuild_metric: Returns a metric of the rebuild, by name.
        """
        hop = "raw bucket to daily table"
        return self._add(
            "History",
            (
                AlarmRow(
                    "HoursFailed",
                    hop,
                    rebuild_metric("HoursFailed"),
                    0,
                    "An hour was not rebuilt after several attempts, although the execution may "
                    "have succeeded. Its daily objects are missing or old; raw objects are safe. "
                    "The next two nights try again.",
                ),
                AlarmRow(
                    "ObjectsSkipped",
                    hop,
                    rebuild_metric("ObjectsSkipped"),
                    0,
                    "Raw objects cannot be read, so their readings are not in the daily table. "
                    "They stay in the raw bucket.",
                ),
                AlarmRow(
                    "ExecutionFailed",
                    hop,
                    state_machine.metric_failed(),
                    0,
                    "Too many hours failed, so the rest was not rebuilt. Raw objects are safe.",
                ),
                AlarmRow(
                    "ExecutionTimedOut",
                    hop,
                    state_machine.metric_timed_out(),
                    0,
                    "Hours were not rebuilt within a day. Raw objects are safe.",
                ),
                AlarmRow(
                    "NotRebuilt",
                    hop,
                    state_machine.metric_succeeded(period=Duration.days(1), statistic="Sum"),
                    1,
                    "For a day, no execution has rebuilt hours. The daily table lacks them, and "
                    "the live table forgets them in some weeks.",
                    below=True,
                ),
            ),
        )

    def _add(self, subject: str, rows: Sequence[AlarmRow]) -> Sequence[cloudwatch.Alarm]:
        # No channel has an upper-case name, so that channels and parts cannot collide.
        scope = Construct(self, subject)
        alarms = []
        for row in rows:
            section = row.construct_id.lower()
            alarm = cloudwatch.Alarm(
                scope,
                row.construct_id,
                alarm_description=f"{subject}, {row.hop}: {row.meaning} See {_RUNBOOK}#{section}",
                metric=row.metric,
                threshold=row.threshold,
                comparison_operator=(
                    cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
                    if row.below
                    else cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
                ),
                evaluation_periods=row.periods,
                # Every metric here is missing while nothing happens.
                treat_missing_data=(
                    cloudwatch.TreatMissingData.BREACHING
                    if row.below
                    else cloudwatch.TreatMissingData.NOT_BREACHING
                ),
            )
            if self.topic is not None:
                alarm.add_alarm_action(actions.SnsAction(self.topic))
            alarms.append(alarm)
        return alarms
