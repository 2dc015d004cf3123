"""Monitoring: an alarm for each way in which data could stop without anyone noticing."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_FIVE_MINUTES = Duration.minutes(5)


class Monitoring(Construct):
    """Alarms over one or more channels.

    Args:
        alarm_email: Gets every alarm, once confirmed. None: alarms are only shown.

    Attributes:
        topic: Where alarms are sent, if anywhere.
    """

    def __init__(self, scope: Construct, construct_id: str, *, alarm_email: str | None) -> None:
        super().__init__(scope, construct_id)
        self.topic: sns.Topic | None = None
        if alarm_email is not None:
            self.topic = sns.Topic(self, "Alarms", enforce_ssl=True)
            self.topic.add_subscription(subscriptions.EmailSubscription(alarm_email))

    def watch(
        self,
        channel: str,
        *,
        delivery_stream: firehose.IDeliveryStream,
        function: lambda_.IFunction,
        queue: sqs.IQueue,
        dead_letter_queue: sqs.IQueue,
        objects_failed: cloudwatch.IMetric,
    ) -> None:
        """Add the alarms of one channel.

        They are: Firehose cannot write (its oldest record is over 15 minutes old), events wait
        over 15 minutes for the function, the function crashes or takes too long, an object went
        back to the queue, an object could not be parsed.
        """
        quarter_hour = Duration.minutes(15).to_seconds()
        for name, what, metric, threshold in (
            (
                "Delivery",
                "Firehose's oldest undelivered record is over 15 minutes old",
                delivery_stream.metric(
                    "DeliveryToS3.DataFreshness", statistic="Maximum", period=_FIVE_MINUTES
                ),
                quarter_hour,
            ),
            (
                "Backlog",
                "A raw object has waited over 15 minutes for the parser",
                queue.metric_approximate_age_of_oldest_message(
                    statistic="Maximum", period=_FIVE_MINUTES
                ),
                quarter_hour,
            ),
            (
                "Errors",
                "The parser crashed or ran out of time",
                function.metric_errors(period=_FIVE_MINUTES),
                0,
            ),
            (
                "Failures",
                "The parser could not parse a raw object; it tries again",
                objects_failed,
                0,
            ),
            (
                "DeadLetters",
                "A raw object could not be parsed; it is in the dead-letter queue",
                dead_letter_queue.metric_approximate_number_of_messages_visible(
                    statistic="Maximum", period=_FIVE_MINUTES
                ),
                0,
            ),
        ):
            alarm = cloudwatch.Alarm(
                self,
                f"{channel}{name}",
                alarm_description=f"{channel}: {what}",
                metric=metric,
                threshold=threshold,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                evaluation_periods=1,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            if self.topic is not None:
                alarm.add_alarm_action(actions.SnsAction(self.topic))
