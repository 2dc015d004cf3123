"""The metrics of one channel, at every hop."""

from collections.abc import Callable
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMetrics:
    """What Monitoring and Dashboard need to know of a channel.

    Attributes:
        channel: The contract's name.
        rule_name: Its topic rule, with a Firehose action and an S3 error action.
        delivery_stream_name: Its Firehose stream.
        buffering_interval: How long Firehose holds a batch open.
        function: Its parser.
        queue: Takes the events about raw objects.
        dead_letter_queue: Keeps events about objects that could not be parsed.
        parser: Returns the sum of a metric that the parser writes, by name.
    """

    channel: str
    rule_name: str
    delivery_stream_name: str
    buffering_interval: Duration
    function: lambda_.IFunction
    queue: sqs.IQueue
    dead_letter_queue: sqs.IQueue
    parser: Callable[[str], cloudwatch.Metric]

    def rule(self, metric_name: str, **dimensions: str) -> cloudwatch.Metric:
        """The sum of a metric of the topic rule."""
        return iot_metric(metric_name, RuleName=self.rule_name, **dimensions)

    def firehose(self, metric_name: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """A metric of the Firehose stream.

        See https://docs.aws.amazon.com/firehose/latest/dev/cloudwatch-metrics.html
        """
        return cloudwatch.Metric(
            namespace="AWS/Firehose",
            metric_name=metric_name,
            dimensions_map={"DeliveryStreamName": self.delivery_stream_name},
            statistic=statistic,
        )

    def backlog_age(self) -> cloudwatch.Metric:
        """Seconds for which the oldest raw object has been waiting for the parser."""
        return self.queue.metric_approximate_age_of_oldest_message(statistic="Maximum")

    def dead_letters(self) -> cloudwatch.Metric:
        """How many raw objects could not be parsed."""
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(
            statistic="Maximum"
        )


def iot_metric(metric_name: str, **dimensions: str) -> cloudwatch.Metric:
    """The sum of a metric of AWS IoT.

    See https://docs.aws.amazon.com/iot/latest/developerguide/metrics_dimensions.html
    """
    return cloudwatch.Metric(
        namespace="AWS/IoT",
        metric_name=metric_name,
        dimensions_map=dimensions,
        statistic="Sum",
    )
