"""The alarms of one channel, and the form of every alarm."""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from stacks.helpers.channel_metrics import ChannelMetrics

# How late a batch or an event may be before somebody is told.
_DELIVERY_MARGIN = Duration.minutes(10)
_BACKLOG_LIMIT = Duration.minutes(15)
# Share of readings that may break the contract: single broken devices are no alarm.
_REJECTED_PERCENT = 5


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm that is raised while ``metric`` exceeds ``threshold``; or falls below it.

    Attributes:
        construct_id: Unique within its subject; the title of its section in the runbook.
        hop: Where on its way the data is.
        metric: Its name, its statistic and its dimensions.
        threshold: In the metric's unit.
        meaning: What happened, and what is at risk.
        below: Raised while the metric is below the threshold, or missing.
        periods: In how many periods in a row.
    """

    construct_id: str
    hop: str
    metric: cloudwatch.IMetric
    threshold: float
    meaning: str
    below: bool = False
    periods: int = 1


def channel_alarms(
    metrics: ChannelMetrics, *, silence: Duration | None, metric_math: bool
) -> Sequence[AlarmRow]:
    """Return the alarms of one channel, in the order in which a message travels.

    Args:
        metrics: The channel.
        silence: See ``Monitoring.watch_channel``.
        metric_math: With the alarm that compares metrics.
    """
    return (
        *(() if silence is None else (_silence_alarm(metrics, silence),)),
        *_ingest_alarms(metrics),
        *((_not_parsed_alarm(metrics),) if metric_math else ()),
        *_parser_alarms(metrics),
    )


def _silence_alarm(metrics: ChannelMetrics, silence: Duration) -> AlarmRow:
    # Not the rule's TopicMatch: on plain topics it also counts messages of other channels.
    return AlarmRow(
        "Silence",
        "device to topic rule",
        metrics.firehose("IncomingRecords").with_(period=silence),
        1,
        f"No message arrived for {silence.to_minutes():.0f} minutes. Either no device publishes, "
        "or AWS IoT does not hand messages on. Devices keep what was not acknowledged.",
        below=True,
    )


def _ingest_alarms(metrics: ChannelMetrics) -> Sequence[AlarmRow]:
    late = metrics.buffering_interval.plus(_DELIVERY_MARGIN)
    to_firehose = "topic rule to Firehose"
    return (
        AlarmRow(
            "RuleMissing",
            "device to topic rule",
            metrics.rule("RuleNotFound"),
            0,
            "A message named the topic rule, but AWS IoT did not find it. The message was "
            "acknowledged and is lost.",
        ),
        AlarmRow(
            "RuleThrottled",
            "device to topic rule",
            metrics.rule("RuleMessageThrottled"),
            0,
            "AWS IoT's rules engine throttled messages, which may be lost: the account is at its "
            "quota of rule evaluations.",
        ),
        AlarmRow(
            "RuleFailures",
            to_firehose,
            metrics.rule("Failure", ActionType="Firehose"),
            0,
            "The topic rule could not hand messages to Firehose. They are kept under "
            "undelivered/ in the raw bucket, and are in no table.",
        ),
        AlarmRow(
            "RuleLosses",
            to_firehose,
            metrics.rule("ErrorActionFailure", ActionType="S3"),
            0,
            "The topic rule could neither hand messages to Firehose nor keep them in the "
            "raw bucket. They were acknowledged and are lost.",
        ),
        AlarmRow(
            "FirehoseThrottled",
            to_firehose,
            metrics.firehose("ThrottledRecords"),
            0,
            "Firehose throttled records, as the stream is at its quota. The topic rule "
            "retries for a while, then messages go to undelivered/.",
        ),
        AlarmRow(
            "Delivery",
            "Firehose to raw bucket",
            metrics.firehose("DeliveryToS3.DataFreshness", "Maximum"),
            late.to_seconds(),
            "Firehose could not write to the raw bucket in time. It retries for 24 hours, "
            "then puts the records under failed/, where no table has them.",
        ),
    )


def _parser_alarms(metrics: ChannelMetrics) -> Sequence[AlarmRow]:
    to_parser, to_tables = "raw bucket to parser", "parser to tables"
    return (
        AlarmRow(
            "Backlog",
            to_parser,
            metrics.backlog_age(),
            _BACKLOG_LIMIT.to_seconds(),
            "Raw objects wait for the parser, so tables are late. The queue drops events "
            "that get older than 4 days; their objects stay in the raw bucket.",
        ),
        AlarmRow(
            "Errors",
            to_parser,
            metrics.function.metric_errors(),
            0,
            "The parser crashed or ran out of time. The queue retries; the raw object is "
            "safe, and its rows are late.",
        ),
        AlarmRow(
            "Failures",
            to_parser,
            metrics.parser("ObjectsFailed"),
            0,
            "The parser could not parse a raw object. The queue retries; the object is "
            "safe, and its rows are late.",
        ),
        AlarmRow(
            "DeadLetters",
            to_parser,
            metrics.dead_letters(),
            0,
            "Raw objects could not be parsed in several attempts. They are safe, and "
            "their rows are missing.",
        ),
        AlarmRow(
            "Rejected",
            to_tables,
            metrics.parser("ReadingsRejectedPercent").with_(statistic="Average"),
            _REJECTED_PERCENT,
            f"More than {_REJECTED_PERCENT} % of the readings break the contract. They are "
            f"in the table {metrics.channel}_rejected, with reasons, and in no other.",
        ),
        AlarmRow(
            "UnknownFields",
            to_tables,
            metrics.parser("UnknownFields").with_(statistic="Maximum"),
            0,
            "Devices send fields that the contract does not have. Raw objects keep them, "
            "tables do not.",
        ),
    )


def _not_parsed_alarm(metrics: ChannelMetrics) -> AlarmRow:
    """The events about raw objects do not come: no other metric shows that."""
    return AlarmRow(
        "NotParsed",
        "raw bucket to parser",
        cloudwatch.MathExpression(
            expression="IF(FILL(delivered, 0) > 0 AND FILL(parsed, 0) < 1, 1, 0)",
            using_metrics={
                "delivered": metrics.firehose("DeliveryToS3.Records"),
                "parsed": metrics.parser("ParseDuration").with_(statistic="SampleCount"),
            },
            period=Duration.hours(1),
        ),
        0,
        "Firehose delivered to the raw bucket for two hours, and the parser parsed nothing. "
        "Raw objects are safe, and the live table lacks their rows.",
        # A batch that is delivered at the end of one hour is parsed in the next.
        periods=2,
    )
