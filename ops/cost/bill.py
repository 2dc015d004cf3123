"""The bill of a month, hop by hop. Pure.

Once the retentions are full: the first months cost less, as there is less to store.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from device.delivery import prices
from ops.cost.deployment import Deployment, FunctionSettings
from ops.cost.traffic import MONTH_DAYS, MONTH_SECONDS, Traffic

# One core's readings per second, as ``make bench`` measured them in November 2026; the first for
# one reading per message, the second for packed ones. A rebuild parses too, sorts, and writes.
PARSER_READINGS_PER_SECOND = (485_000, 950_000)
REBUILD_READINGS_PER_SECOND = (346_000, 471_000)
# A function gets a whole core at 1,769 MB; one thread cannot use more than that.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_GB_PER_CORE = 1769 / 1024

# What an invocation takes beside its readings: requests to S3, mostly. Estimates.
_PARSER_SECONDS = 0.2
_REBUILD_SECONDS = 1.0
_SECONDS_PER_OBJECT = 0.05

# Each hour, the function that looks for silent devices reads the hour before and the running one.
_SILENCE_READS = 3

# Lambda polls an idle queue with five receives at a time, each of which waits 20 seconds.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
_IDLE_RECEIVES = MONTH_SECONDS / 20 * 5
_REQUESTS_PER_EVENT = 3  # send, receive, delete

# Metrics that a function writes while nothing goes wrong. CloudWatch charges for the hours in
# which a metric is written; the rebuild works in one hour a day.
PARSER_METRICS = 7
REBUILD_METRICS = 5

# What an invocation logs, Lambda's own lines included, and what Step Functions logs per hour.
PARSER_LOG_BYTES = 3_000
REBUILD_LOG_BYTES = 3_000
_HISTORY_LOG_BYTES = 6_000

_LISTED_PER_REQUEST = 1_000
_HOURS = 24 * MONTH_DAYS


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the bill.

    Attributes:
        hop: Where on the way.
        what: What AWS charges for.
        quantity: How many in a month.
        usd: What they cost.
    """

    hop: str
    what: str
    quantity: float
    usd: float


def items(deployment: Deployment, traffic: Traffic, devices: int) -> list[Item]:
    """The bill of a month, in the order in which a reading travels."""
    return [
        *_ingest(deployment, traffic, devices),
        *_raw_and_parser(deployment, traffic),
        *_history(deployment, traffic),
        *_silence(deployment, traffic),
        *_monitoring(deployment, traffic),
    ]


def query_items(traffic: Traffic) -> list[Item]:
    """What one query costs that reads a day: of the live table, and of the daily one."""
    return [
        Item(
            "one query",
            f"a day of the {table} table, all columns",
            month_bytes / MONTH_DAYS,
            prices.query_usd(round(month_bytes / MONTH_DAYS)) + 2 * files * prices.S3_READ_USD,
        )
        for table, month_bytes, files in (
            ("live", traffic.parquet_bytes, traffic.objects / MONTH_DAYS),
            ("daily", traffic.daily_bytes, 24.0),
        )
    ]


def _ingest(deployment: Deployment, traffic: Traffic, devices: int) -> Iterator[Item]:
    minutes = devices * MONTH_SECONDS / 60
    yield Item("IoT Core", "minutes of connection", minutes, minutes * prices.CONNECTION_MINUTE_USD)
    units = traffic.messages * prices.units(traffic.topic, traffic.payload_bytes)
    is_basic = traffic.topic.startswith("$aws/rules/")
    charged = 0.0 if is_basic else units
    yield Item("IoT Core", "messages, 5 KB", charged, charged * prices.MESSAGE_USD)
    triggered = units * (1 if is_basic else deployment.rules)
    yield Item("rule", "rules triggered, 5 KB", triggered, triggered * prices.RULE_USD)
    actions = units * deployment.actions
    yield Item("rule", "actions, 5 KB", actions, actions * prices.ACTION_USD)
    records = traffic.messages * prices.record_units(traffic.payload_bytes)
    yield Item("Firehose", "records, 5 KB", records, records * prices.FIREHOSE_USD)


def _raw_and_parser(deployment: Deployment, traffic: Traffic) -> Iterator[Item]:
    objects = traffic.objects
    yield Item("raw bucket", "PUT requests", objects, objects * prices.S3_WRITE_USD)
    yield _stored("raw bucket", traffic.raw_bytes, deployment.raw_days)
    requests = objects * _REQUESTS_PER_EVENT + deployment.pollers * _IDLE_RECEIVES
    yield Item("queue", "requests, idle polls too", requests, requests * prices.SQS_REQUEST_USD)
    yield Item("parser", "GET requests", objects, objects * prices.S3_READ_USD)
    seconds = objects * _PARSER_SECONDS + traffic.readings / _speed(
        PARSER_READINGS_PER_SECOND, deployment.parser, traffic
    )
    yield from _lambda("parser", deployment.parser, objects, seconds)
    yield Item("live table", "PUT requests", objects, objects * prices.S3_WRITE_USD)
    yield _stored("live table", traffic.parquet_bytes, deployment.parsed_days)


def _history(deployment: Deployment, traffic: Traffic) -> Iterator[Item]:
    # Each night looks at two days: it rebuilds the hours of one, the others are unchanged.
    runs = deployment.nightly_hours * MONTH_DAYS * deployment.channels
    # Two states, and one for each hour. AWS charges for each state that is entered.
    transitions = 2 * MONTH_DAYS + runs
    yield Item(
        "history",
        "state transitions",
        transitions,
        transitions * prices.STATE_TRANSITION_USD,
    )
    seconds = (
        runs * _REBUILD_SECONDS
        + traffic.objects * _SECONDS_PER_OBJECT
        + traffic.readings / _speed(REBUILD_READINGS_PER_SECOND, deployment.rebuild, traffic)
    )
    yield from _lambda("history", deployment.rebuild, runs, seconds)
    pages = -(-traffic.objects // (_HOURS * _LISTED_PER_REQUEST))
    # Two listings; for an hour that is rebuilt, its daily object and its manifest.
    writes = runs * (1 + max(1.0, pages)) + _HOURS * 2
    yield Item("history", "PUT and LIST requests", writes, writes * prices.S3_WRITE_USD)
    reads = traffic.objects + runs
    yield Item("history", "GET requests", reads, reads * prices.S3_READ_USD)
    yield _stored("daily table", traffic.daily_bytes, deployment.daily_days)


def _silence(deployment: Deployment, traffic: Traffic) -> Iterator[Item]:
    if deployment.silence is None:
        return
    reads = _SILENCE_READS * traffic.objects
    seconds = _HOURS * _REBUILD_SECONDS + reads * _SECONDS_PER_OBJECT
    yield from _lambda("silent devices", deployment.silence, _HOURS, seconds)
    yield Item("silent devices", "GET requests", reads, reads * prices.S3_READ_USD)


def _monitoring(deployment: Deployment, traffic: Traffic) -> Iterator[Item]:
    alarms = deployment.alarm_metrics
    yield Item("monitoring", "alarms", alarms, alarms * prices.ALARM_USD)
    metrics = PARSER_METRICS * deployment.channels + REBUILD_METRICS / 24
    yield Item("monitoring", "custom metrics", metrics, metrics * prices.METRIC_USD)
    boards = deployment.dashboards
    yield Item("monitoring", "dashboards", boards, boards * prices.DASHBOARD_USD)
    runs = deployment.nightly_hours * MONTH_DAYS * deployment.channels
    logged = (
        traffic.objects * PARSER_LOG_BYTES + runs * (REBUILD_LOG_BYTES + _HISTORY_LOG_BYTES)
    ) / prices.GIB
    stored = logged * deployment.log_days / MONTH_DAYS
    yield Item(
        "monitoring",
        "GB of logs",
        logged,
        logged * prices.LOG_GB_USD + stored * prices.LOG_GB_MONTH_USD,
    )
    traces = _sampled(traffic.objects) + _sampled(runs)
    yield Item("monitoring", "traces", traces, traces * prices.TRACE_USD)


def _sampled(requests: float) -> float:
    """X-Ray records the first request of each second, and 5 % of the others.

    See https://docs.aws.amazon.com/xray/latest/devguide/xray-console-sampling.html
    """
    first = min(requests, float(MONTH_SECONDS))
    return first + 0.05 * (requests - first)


def _speed(speeds: tuple[int, int], function: FunctionSettings, traffic: Traffic) -> float:
    return speeds[traffic.is_packed] * min(1.0, function.memory_gb / _GB_PER_CORE)


def _lambda(
    hop: str, function: FunctionSettings, requests: float, seconds: float
) -> Iterator[Item]:
    yield Item(hop, "invocations", requests, requests * prices.LAMBDA_REQUEST_USD)
    gb_seconds = seconds * function.memory_gb
    storage_gb_seconds = seconds * function.extra_storage_gb
    yield Item(
        hop,
        "Lambda GB-seconds",
        gb_seconds,
        gb_seconds * prices.LAMBDA_GB_SECOND_USD
        + storage_gb_seconds * prices.LAMBDA_STORAGE_GB_SECOND_USD,
    )


def _stored(hop: str, month_bytes: float, days: int) -> Item:
    gigabytes = month_bytes * days / MONTH_DAYS / prices.GIB
    return Item(hop, f"GB stored for {days} days", gigabytes, gigabytes * prices.S3_GB_MONTH_USD)
