"""Monitoring: an alarm for each way in which data can be lost or stop unnoticed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

# How late a batch or an event may be before somebody is told.
_DELIVERY_MARGIN = Duration.minutes(10)
_BACKLOG_LIMIT = Duration.minutes(15)
# Share of readings that may break the contract: single broken devices are no alarm.
_REJECTED_PERCENT = 5


@dataclass(frozen=True, slots=True)
class _Alarm:
    """An alarm that is raised while ``metric`` exceeds ``threshold``; or falls below it.

    Attributes:
        construct_id: Unique within its channel.
        metric: Its name, its statistic and its dimensions.
        threshold: In the metric's unit.
        meaning: What happened, what is at risk, and where to look.
        below: Raised while the metric is below the threshold, or missing.
    """

    construct_id: str
    metric: cloudwatch.IMetric
    threshold: float
    meaning: str
    below: bool = False


class Monitoring(Construct):
    """Alarms over the channels and over fleet provisioning.

    Args:
        alarm_email: Receives every alarm, after confirming the subscription. None if alarms are
            only shown in CloudWatch.

    Attributes:
        topic: Where alarms are sent; None without ``alarm_email``.
    """

    def __init__(self, scope: Construct, construct_id: str, *, alarm_email: str | None) -> None:
        super().__init__(scope, construct_id)
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
        self,
        channel: str,
        *,
        rule_name: str,
        delivery_stream_name: str,
        buffering_interval: Duration,
        function: lambda_.IFunction,
        queue: sqs.IQueue,
        dead_letter_queue: sqs.IQueue,
        parser_metric: Callable[[str], cloudwatch.Metric],
    ) -> None:
        """Add the alarms of one channel, in the order in which a message travels.

        Args:
            channel: The contract's name.
            rule_name: Its topic rule, with a Firehose action and an S3 error action.
            delivery_stream_name: Its Firehose stream.
            buffering_interval: How long Firehose holds a batch open.
            function: Its parser.
            queue: Takes the events about raw objects.
            dead_letter_queue: Keeps events about objects that could not be parsed.
            parser_metric: Returns a metric that the parser writes, by name.
        """

        def rule(metric_name: str, **dimensions: str) -> cloudwatch.Metric:
            return _iot(metric_name, RuleName=rule_name, **dimensions)

        def firehose(metric_name: str, statistic: str) -> cloudwatch.Metric:
            return cloudwatch.Metric(
                namespace="AWS/Firehose",
                metric_name=metric_name,
                dimensions_map={"DeliveryStreamName": delivery_stream_name},
                statistic=statistic,
            )

        late = buffering_interval.plus(_DELIVERY_MARGIN)
        self._add(
            channel,
            (
                _Alarm(
                    "RuleMissing",
                    rule("RuleNotFound"),
                    0,
                    "A message named the topic rule, but AWS IoT did not find it. The message was "
                    "acknowledged and is lost. Deploy the stack again.",
                ),
                _Alarm(
                    "RuleThrottled",
                    rule("RuleMessageThrottled"),
                    0,
                    "AWS IoT's rules engine throttled messages, which may be lost. Raise the "
                    "account's quota of rule evaluations.",
                ),
                _Alarm(
                    "RuleFailures",
                    rule("Failure", ActionType="Firehose"),
                    0,
                    "The topic rule could not hand messages to Firehose. They are kept under "
                    "undelivered/ in the raw bucket; ops.recover brings them into the tables.",
                ),
                _Alarm(
                    "RuleLosses",
                    rule("ErrorActionFailure", ActionType="S3"),
                    0,
                    "The topic rule could neither hand messages to Firehose nor keep them in the "
                    "raw bucket. They were acknowledged and are lost.",
                ),
                _Alarm(
                    "FirehoseThrottled",
                    firehose("ThrottledRecords", "Sum"),
                    0,
                    "Firehose throttled records, as the stream is at its quota. The topic rule "
                    "retries for a while, then messages go to undelivered/.",
                ),
                _Alarm(
                    "Delivery",
                    firehose("DeliveryToS3.DataFreshness", "Maximum"),
                    late.to_seconds(),
                    "Firehose could not write to the raw bucket in time. It retries for 24 hours, "
                    "then puts the records under failed/; ops.recover brings them back.",
                ),
                _Alarm(
                    "Backlog",
                    queue.metric_approximate_age_of_oldest_message(statistic="Maximum"),
                    _BACKLOG_LIMIT.to_seconds(),
                    "Raw objects wait for the parser, so tables are late. The queue drops events "
                    "that get too old; their objects stay in the raw bucket.",
                ),
                _Alarm(
                    "Errors",
                    function.metric_errors(),
                    0,
                    "The parser crashed or ran out of time. The queue retries; the raw object is "
                    "safe, and its rows are late.",
                ),
                _Alarm(
                    "Failures",
                    parser_metric("ObjectsFailed"),
                    0,
                    "The parser could not parse a raw object. The queue retries; the object is "
                    "safe, and its rows are late. The parser's log has the reason.",
                ),
                _Alarm(
                    "DeadLetters",
                    dead_letter_queue.metric_approximate_number_of_messages_visible(
                        statistic="Maximum"
                    ),
                    0,
                    "Raw objects could not be parsed in several attempts. They are safe, and "
                    "their rows are missing. ops.redrive names them, with the reason.",
                ),
                _Alarm(
                    "Rejected",
                    parser_metric("ReadingsRejectedPercent").with_(statistic="Average"),
                    _REJECTED_PERCENT,
                    f"More than {_REJECTED_PERCENT} % of the readings break the contract. They are "
                    f"in the table {channel}_rejected, with reasons, and in no other.",
                ),
                _Alarm(
                    "UnknownFields",
                    parser_metric("UnknownFields").with_(statistic="Maximum"),
                    0,
                    "Devices send fields that the contract does not have. Raw objects keep them, "
                    "tables do not. The parser's log names them.",
                ),
            ),
        )

    def watch_provisioning(self, template_name: str) -> None:
        """Add the alarm of fleet provisioning by claim."""
        self._add(
            "provisioning",
            (
                _Alarm(
                    "Registrations",
                    _iot("RegisterThingFailed", TemplateName=template_name),
                    0,
                    "A claim certificate was used, and no device was registered: the hook refused "
                    "the name, or AWS IoT could not register it. A refused device cannot publish. "
                    "A claim certificate may be in the wrong hands. The hook's log has the reason.",
                ),
            ),
        )

    def watch_history(
        self, state_machine: sfn.StateMachine, rebuild_metric: Callable[[str], cloudwatch.Metric]
    ) -> None:
        """Add the alarms of the state machine that rebuilds hours, and of its function.

        Args:
            state_machine: Started every night.
            rebuild_metric: Returns a metric of the rebuild, by name.
        """
        self._add(
            "history",
            (
                _Alarm(
                    "HoursFailed",
                    rebuild_metric("HoursFailed"),
                    0,
                    "An hour was not rebuilt after several attempts, although the execution may "
                    "have succeeded. Its daily objects are missing or old; raw objects are safe. "
                    "The next two nights try again. The function's log has the reason.",
                ),
                _Alarm(
                    "ObjectsSkipped",
                    rebuild_metric("ObjectsSkipped"),
                    0,
                    "Raw objects cannot be read, so their readings are not in the daily table. "
                    "They stay in the raw bucket. The hour's manifest and the log name them.",
                ),
                _Alarm(
                    "ExecutionFailed",
                    state_machine.metric_failed(),
                    0,
                    "Too many hours failed, so the rest was not rebuilt. Raw objects are safe. "
                    "The execution in Step Functions has the reason.",
                ),
                _Alarm(
                    "ExecutionTimedOut",
                    state_machine.metric_timed_out(),
                    0,
                    "Hours were not rebuilt within a day. Raise rebuild_maximum_concurrency.",
                ),
                _Alarm(
                    "NotRebuilt",
                    state_machine.metric_succeeded(period=Duration.days(1), statistic="Sum"),
                    1,
                    "For a day, no execution has rebuilt hours. The daily table lacks them, and "
                    "the live table forgets them in some weeks. Look at the schedule.",
                    below=True,
                ),
            ),
        )

    def _add(self, subject: str, alarms: Sequence[_Alarm]) -> None:
        scope = Construct(self, subject)
        for row in alarms:
            alarm = cloudwatch.Alarm(
                scope,
                row.construct_id,
                alarm_description=f"{subject}: {row.meaning}",
                metric=row.metric,
                threshold=row.threshold,
                comparison_operator=(
                    cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
                    if row.below
                    else cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
                ),
                evaluation_periods=1,
                # Every metric here is missing while nothing happens.
                treat_missing_data=(
                    cloudwatch.TreatMissingData.BREACHING
                    if row.below
                    else cloudwatch.TreatMissingData.NOT_BREACHING
                ),
            )
            if self.topic is not None:
                alarm.add_alarm_action(actions.SnsAction(self.topic))


def _iot(metric_name: str, **dimensions: str) -> cloudwatch.Metric:
    # https://docs.aws.amazon.com/iot/latest/developerguide/metrics_dimensions.html
    return cloudwatch.Metric(
        namespace="AWS/IoT",
        metric_name=metric_name,
        dimensions_map=dimensions,
        statistic="Sum",
    )
