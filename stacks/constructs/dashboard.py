"""Dashboard: one page in CloudWatch that follows the data from the devices to the tables."""

from collections.abc import Callable, Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from stacks.helpers.channel_metrics import ChannelMetrics

# A dashboard has 24 columns.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
_COLUMNS = 24
_NUMBER_HEIGHT = 3
_GRAPH_HEIGHT = 6


class Dashboard(Construct):
    """For each channel: its alarms, a number per hop from left to right, and graphs below.

    Numbers are sums over the time range that is chosen in CloudWatch, so that each hop can be
    compared with the next one; by default it is the last day.

    Args:
        name: Dashboards have no region: expected to be unique in the account.
    """

    def __init__(self, scope: Construct, construct_id: str, *, name: str) -> None:
        super().__init__(scope, construct_id)
        self._dashboard = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=name, default_interval=Duration.days(1)
        )
        self._add_title("The stack makes this dashboard; what you change here will be lost.")

    def add_channel(self, metrics: ChannelMetrics, alarms: Sequence[cloudwatch.IAlarm]) -> None:
        """Add the rows of one channel."""
        seen = metrics.rule("TopicMatch")
        handed_on = metrics.rule("Success", ActionType="Firehose")
        taken = metrics.firehose("IncomingRecords")
        delivered = metrics.firehose("DeliveryToS3.Records")
        rows, rejected = metrics.parser("ReadingsParsed"), metrics.parser("ReadingsRejected")
        self._add_title(f"## {metrics.channel}")
        self.add_alarms(metrics.channel, alarms)
        self._add_numbers(
            ("devices: messages", seen),
            ("rule: messages", handed_on),
            ("Firehose: messages", taken),
            ("raw bucket: messages", delivered),
            ("queue: most objects", _waiting(metrics)),
            ("parser: objects", metrics.parser("ParseDuration").with_(statistic="SampleCount")),
            ("tables: rows", rows),
            ("tables: rejected", rejected),
        )
        self._add_graphs(
            ("messages", [seen, handed_on, taken, delivered]),
            (
                "seconds late",
                [
                    metrics.firehose("DeliveryToS3.DataFreshness", "Maximum"),
                    metrics.backlog_age(),
                    metrics.parser("BatchAge").with_(statistic="Maximum"),
                ],
            ),
            ("readings", [rows, rejected]),
            (
                "set aside, retried or lost",
                [
                    metrics.rule("Failure", ActionType="Firehose"),
                    metrics.rule("ErrorActionFailure", ActionType="S3"),
                    metrics.rule("RuleNotFound"),
                    metrics.rule("RuleMessageThrottled"),
                    metrics.firehose("ThrottledRecords"),
                    metrics.function.metric_errors(),
                    metrics.parser("ObjectsFailed"),
                    metrics.dead_letters(),
                ],
            ),
        )

    def add_alarms(self, title: str, alarms: Sequence[cloudwatch.IAlarm]) -> None:
        """Add a row that shows alarms only."""
        self._dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(
                title=f"{title}: alarms", alarms=alarms, width=_COLUMNS, height=_NUMBER_HEIGHT
            )
        )

    def add_history(
        self,
        state_machine: sfn.StateMachine,
        rebuild_metric: Callable[[str], cloudwatch.Metric],
        alarms: Sequence[cloudwatch.IAlarm],
    ) -> None:
        """Add the rows of the rebuild of closed hours, all channels together."""
        self._add_title("## History")
        self.add_alarms("History", alarms)
        self._add_graphs(
            (
                "daily tables: rows",
                [
                    rebuild_metric(name)
                    for name in ("RowsWritten", "ReadingsRepeated", "ReadingsMisdated")
                ],
            ),
            (
                "left out",
                [rebuild_metric(name) for name in ("HoursFailed", "ObjectsSkipped")],
            ),
            (
                "executions",
                [
                    state_machine.metric_succeeded(),
                    state_machine.metric_failed(),
                    state_machine.metric_timed_out(),
                ],
            ),
        )

    def _add_title(self, markdown: str) -> None:
        self._dashboard.add_widgets(
            cloudwatch.TextWidget(
                markdown=markdown,
                width=_COLUMNS,
                height=1,
                background=cloudwatch.TextWidgetBackground.TRANSPARENT,
            )
        )

    def _add_numbers(self, *numbers: tuple[str, cloudwatch.IMetric]) -> None:
        self._dashboard.add_widgets(
            *(
                cloudwatch.SingleValueWidget(
                    title=title,
                    metrics=[metric],
                    set_period_to_time_range=True,
                    width=_COLUMNS // len(numbers),
                    height=_NUMBER_HEIGHT,
                )
                for title, metric in numbers
            )
        )

    def _add_graphs(self, *graphs: tuple[str, Sequence[cloudwatch.IMetric]]) -> None:
        self._dashboard.add_widgets(
            *(
                cloudwatch.GraphWidget(
                    title=title,
                    left=metrics,
                    left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                    width=_COLUMNS // len(graphs),
                    height=_GRAPH_HEIGHT,
                )
                for title, metrics in graphs
            )
        )


def _waiting(metrics: ChannelMetrics) -> cloudwatch.Metric:
    return metrics.queue.metric_approximate_number_of_messages_visible(statistic="Maximum")
