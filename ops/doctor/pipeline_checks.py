"""The stages behind the broker: rule, delivery, parser, readings, table."""

import base64
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import contracts
from contracts import names
from device.errors import ExitStatus
from ops.doctor import query
from ops.doctor.context import Context, S3Object, Skipped
from ops.doctor.findings import Failed, Stage

# Only so many objects are read, and so much of each: the search must end also in a busy fleet.
_MOST_OBJECTS = 50
_MOST_BYTES = 16 * 2**20

# From then on, the stack's alarms say that a hop is late.
_LATE_SECONDS = 15 * 60

_FILTER = re.compile(r"\bFROM\s+'([^']*)'", re.IGNORECASE)
_CHANNEL = re.compile(r"\bWHERE\s+topic\(4\)\s*=\s*'([^']*)'\s*$", re.IGNORECASE)


def rule_exists(context: Context) -> str:
    """There is a rule for the channel."""
    iot = context.client("iot")
    try:
        name = str(context.rule["ruleName"])
    # AWS says Unauthorized of a rule that is not there, lest it tell that there is none.
    except (iot.exceptions.ResourceNotFoundException, iot.exceptions.UnauthorizedException):
        name = names.rule_name(context.environment_name, context.channel)
        raise Failed(f"there is no rule {name}", context.deploy) from None
    return name


def rule_enabled(context: Context) -> str:
    """The rule is enabled."""
    name = context.rule["ruleName"]
    if context.rule["ruleDisabled"]:
        raise Failed(
            f"rule {name} is disabled", context.command(f"iot enable-topic-rule --rule-name {name}")
        )
    return "enabled"


def rule_filter(context: Context) -> str:
    """The rule reads the device's topic."""
    sql = context.rule["sql"]
    found = _FILTER.search(sql)
    if found is None or not topic_matches(found[1], context.plain_topic):
        read = found[1] if found else "nothing"
        raise Failed(f"the rule reads {read}, not {context.plain_topic}", context.deploy)
    condition = _CHANNEL.search(sql)
    if condition is None or condition[1] != context.channel:
        raise Failed(f"the rule's WHERE does not select channel {context.channel}", context.deploy)
    return f"reads {found[1]}, channel {condition[1]}"


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic filter, ``+`` and ``#`` in it, matches ``topic``."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        # In a rule's FROM, unlike in a subscription, "a/#" does not match "a".
        if len(levels) < len(wanted):
            return False
        wanted = wanted[:-1]
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        expected in ("+", level) for expected, level in zip(wanted, levels, strict=True)
    )


def rule_action(context: Context) -> str:
    """The rule hands messages to Firehose, and keeps what Firehose refuses."""
    if not any("firehose" in action for action in context.rule["actions"]):
        raise Failed("the rule has no Firehose action", context.deploy)
    if "s3" not in context.rule.get("errorAction", {}):
        raise Failed("the rule has no error action: what Firehose refuses is lost", context.deploy)
    return "to Firehose; what it refuses, to undelivered/"


def rule_metrics(context: Context) -> str:
    """The rule's action has not failed of late."""
    rule = {"RuleName": str(context.rule["ruleName"])}
    matched = _metric(context, "AWS/IoT", "TopicMatch", rule)
    failures = _metric(context, "AWS/IoT", "Failure", {**rule, "ActionType": "Firehose"}) or 0
    if failures:
        raise Failed(
            f"the rule's Firehose action failed {failures:.0f} times in the last hour",
            "do what the newest object under undelivered/ says",
        )
    if matched is None:
        raise Skipped("no metrics of the last hour")
    return f"{matched:.0f} messages matched in the last hour, none failed"


def stream_active(context: Context) -> str:
    """The delivery stream is there and active."""
    firehose = context.client("firehose")
    try:
        status = context.stream["DeliveryStreamStatus"]
    except firehose.exceptions.ResourceNotFoundException:
        raise Failed("the rule's delivery stream does not exist", context.deploy) from None
    if status != "ACTIVE":
        raise Failed(f"the delivery stream is {status}", context.deploy)
    bucket = str(context.destination["BucketARN"]).rpartition(":")[2]
    if bucket != context.raw_bucket:
        raise Failed(f"the stream writes to {bucket}, not {context.raw_bucket}", context.deploy)
    interval = context.destination["BufferingHints"]["IntervalInSeconds"]
    return f"ACTIVE; writes a batch every {interval} s"


def stream_metrics(context: Context) -> str:
    """Firehose can write."""
    stream = {"DeliveryStreamName": str(context.stream["DeliveryStreamName"])}
    age = _metric(context, "AWS/Firehose", "DeliveryToS3.DataFreshness", stream, "Maximum")
    if age is None:
        raise Skipped("no metrics of the last hour")
    interval = context.destination["BufferingHints"]["IntervalInSeconds"]
    if age > interval + _LATE_SECONDS:
        raise Failed(
            f"Firehose's oldest undelivered record was {age:.0f} s old within the last hour",
            context.command(
                "logs tail --since 1h "
                + context.destination["CloudWatchLoggingOptions"].get("LogGroupName", "")
            )
            + ", and do what it says",
        )
    return f"the oldest undelivered record was at most {age:.0f} s old in the last hour"


def raw_objects(context: Context) -> str:
    """Whether anything arrives, of whichever device."""
    found = next(context.newest(context.raw_bucket, f"raw/{context.channel}/"), None)
    if found is None:
        return "no device's message has arrived in the last 24 h"
    return f"the newest batch, of any device, came {_ago(found.modified)}"


def failed_objects(context: Context) -> str:
    """Firehose has given nothing up."""
    pages = context.client("s3").get_paginator("list_objects_v2")
    types = [
        entry["Prefix"]
        for page in pages.paginate(Bucket=context.raw_bucket, Prefix="failed/", Delimiter="/")
        for entry in page.get("CommonPrefixes", [])
    ]
    for prefix in types:
        found = next(context.newest(context.raw_bucket, f"{prefix}{context.channel}/"), None)
        if found is not None:
            raise Failed(
                f"Firehose gave up records {_ago(found.modified)}: s3://{found.bucket}/{found.key}",
                "mend what the errorMessage in that object says",
            )
    return "nothing under failed/ in the last 24 h"


def undelivered_objects(context: Context) -> str:
    """Firehose has refused no message of this device."""
    days = [datetime.now(UTC) - timedelta(days=days) for days in (0, 1)]
    listed = [
        found
        for day in days
        for found in context.listed(
            context.raw_bucket, f"undelivered/{context.channel}/{day:dt=%Y-%m-%d}/"
        )
    ]
    listed.sort(key=lambda found: found.modified, reverse=True)
    for found in listed[:_MOST_OBJECTS]:
        document = json.loads(context.body(found))
        if _thing_of(str(document.get("topic"))) == context.thing_name:
            reason = document["failures"][0]["errorMessage"]
            raise Failed(
                f"Firehose refused a message of this device {_ago(found.modified)}: "
                f"{' '.join(str(reason).split())[:300]}",
                f"mend that; the message is kept in s3://{found.bucket}/{found.key}",
            )
    return "nothing of this device under undelivered/ since yesterday"


def notification(context: Context) -> str:
    """The raw bucket tells a queue of each new object."""
    if context.queue_arn is None:
        raise Failed(
            f"bucket {context.raw_bucket} tells no queue of new objects under "
            f"raw/{context.channel}/",
            context.deploy,
        )
    return f"to {context.queue_arn.rpartition(':')[2]}"


def queue_policy(context: Context) -> str:
    """The queue takes what the bucket sends."""
    sqs = context.client("sqs")
    try:
        policy = json.loads(context.queue.get("Policy", '{"Statement": []}'))
    except sqs.exceptions.QueueDoesNotExist:
        raise Failed("the queue that the bucket tells does not exist", context.deploy) from None
    if not any(
        statement["Effect"] == "Allow"
        and "s3.amazonaws.com" in json.dumps(statement["Principal"])
        and "sqs:SendMessage" in json.dumps(statement["Action"])
        for statement in policy["Statement"]
    ):
        raise Failed("the queue's policy does not let S3 send to it", context.deploy)
    return f"takes events of S3; {_waiting(context)} wait or are being parsed"


def trigger(context: Context) -> str:
    """The queue triggers the function."""
    if context.trigger is None:
        raise Failed("the queue triggers no function", context.deploy)
    state = context.trigger["State"]
    if state not in {"Enabled", "Enabling", "Updating"}:
        raise Failed(
            f"the function's trigger is {state}; {_waiting(context)} events wait",
            context.command(
                f"lambda update-event-source-mapping --enabled --uuid {context.trigger['UUID']}"
            ),
        )
    return str(state)


def function_state(context: Context) -> str:
    """The function is there and may run."""
    function = context.function
    for key, good in (("State", {"Active", "Inactive"}), ("LastUpdateStatus", {"Successful"})):
        # A function that nobody called for weeks is Inactive, and wakes up when called.
        if function.get(key, "Successful") not in {*good, "Pending", "InProgress"}:
            reason = function.get(f"{key}Reason", "no reason given")
            raise Failed(f"the function's {key} is {function[key]}: {reason}", context.deploy)
    return f"Active, changed {_ago(datetime.fromisoformat(function['LastModified']))}"


def backlog(context: Context) -> str:
    """No object waits long for the function."""
    arn = context.queue_arn
    if arn is None:
        raise Skipped("no queue hears of raw objects")
    queue = {"QueueName": arn.rpartition(":")[2]}
    age = _metric(context, "AWS/SQS", "ApproximateAgeOfOldestMessage", queue, "Maximum")
    if age is None:
        raise Skipped("no metrics of the last hour")
    if age > _LATE_SECONDS:
        raise Failed(
            f"an object waited {age:.0f} s for the function within the last hour; "
            f"{_waiting(context)} wait or are being parsed",
            f"raise parser_maximum_concurrency of {context.environment_name} in cdk.json, then "
            + context.deploy,
        )
    return f"no object waited longer than {age:.0f} s in the last hour"


def function_concurrency(context: Context) -> str:
    """The function is not kept from running."""
    name = context.function["FunctionName"]
    answer = context.client("lambda").get_function_concurrency(FunctionName=name)
    reserved = answer.get("ReservedConcurrentExecutions")
    if reserved == 0:
        raise Failed(
            "the function's reserved concurrency is 0: it never runs",
            context.command(f"lambda delete-function-concurrency --function-name {name}"),
        )
    return "nothing reserved" if reserved is None else f"{reserved} reserved"


def function_errors(context: Context) -> str:
    """The function gets its work done."""
    function = context.function
    changed = datetime.fromisoformat(function["LastModified"])
    since = max(changed, datetime.now(UTC) - timedelta(hours=1))
    group = function.get("LoggingConfig", {}).get(
        "LogGroup", f"/aws/lambda/{function['FunctionName']}"
    )
    pages = context.client("logs").get_paginator("filter_log_events")
    errors = [
        event["message"]
        for page in pages.paginate(
            logGroupName=group,
            filterPattern="ERROR",
            startTime=int(since.timestamp() * 1000),
            PaginationConfig={"MaxItems": 1000},
        )
        for event in page["events"]
    ]
    waiting = _waiting(context)
    if errors and waiting:
        raise Failed(
            f"the function fails, and {waiting} events wait: {_log_line(errors[-1])}",
            "mend what it says (configuration, permissions or code), then " + context.deploy,
        )
    if errors:
        return f"{len(errors)} errors in the last hour, recovered from: no event waits"
    return "no error in the last hour"


def dead_letters(context: Context) -> str:
    """No object was given up."""
    redrive = context.queue.get("RedrivePolicy")
    if redrive is None:
        raise Failed("the queue has no dead-letter queue", context.deploy)
    arn = json.loads(redrive)["deadLetterTargetArn"]
    count = _events(context, arn)
    if count:
        raise Failed(
            f"the dead-letter queue holds {count} events of objects that could not be parsed",
            "mend what the function's log says of them, then "
            + context.command(f"sqs start-message-move-task --source-arn {arn}"),
        )
    return "empty"


def rejected_readings(context: Context) -> str:
    """No reading of this device was rejected of late."""
    reasons: Counter[str] = Counter()
    newest: datetime | None = None
    found = context.newest(context.parsed_bucket, f"rejected/{context.channel}/")
    for rejected in islice(found, _MOST_OBJECTS):
        for line in _lines(context, rejected):
            if _thing_of(_topic_of_raw(line["line"])) == context.thing_name:
                reasons[f"{line['path'] or '$'}: {line['reason']}"] += 1
                newest = newest or rejected.modified
    if newest is not None:
        top = "; ".join(f"{count} of {reason}" for reason, count in reasons.most_common(3))
        raise Failed(
            f"readings of this device were rejected, {reasons.total()} in the last 24 h and the "
            f"newest {_ago(newest)}: {top}",
            f"send what contracts/{context.channel}.json allows",
        )
    return "none of this device in the last 24 h"


def table_exists(context: Context) -> str:
    """The table is there, and knows the contract's fields."""
    glue = context.client("glue")
    database = names.database_name(context.environment_name)
    try:
        found = glue.get_table(DatabaseName=database, Name=context.channel)["Table"]
    except glue.exceptions.EntityNotFoundException:
        raise Failed(f"there is no table {database}.{context.channel}", context.deploy) from None
    storage = found["StorageDescriptor"]
    expected = f"s3://{context.parsed_bucket}/parsed/{context.channel}/"
    if storage["Location"] != expected:
        raise Failed(f"the table reads {storage['Location']}, not {expected}", context.deploy)
    columns = {column["Name"] for column in storage["Columns"]}
    missing = [
        field.column
        for field in contracts.load(context.channel).fields
        if field.column not in columns
    ]
    if missing:
        raise Failed(f"the table has no column {', '.join(missing)}", context.deploy)
    return f"{database}.{context.channel}"


def table_count(context: Context) -> str:
    """Athena answers, and how many rows it finds."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    try:
        ((count, newest),) = query.run(
            context.client("athena"),
            context.environment_name,
            f"SELECT count(*), max(received_at) FROM {context.channel} "
            f"WHERE dt >= '{yesterday}' AND thing_name = '{context.thing_name}'",
        )
    except query.QueryError as error:
        raise Failed(
            f"Athena cannot count the rows: {error}",
            "mend what Athena says: move away an object that it cannot read, enable the workgroup "
            f"{names.workgroup_name(context.environment_name)}, or {context.deploy}",
        ) from None
    if count == "0":
        return "no row of this device since yesterday; --send shows the way of a reading"
    return f"{count} rows of this device since yesterday, the newest of {newest} UTC"


_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def _waiting(context: Context) -> int:
    """How many events wait or are being parsed, at this moment."""
    return 0 if context.queue_arn is None else _events(context, context.queue_arn)


def _events(context: Context, queue_arn: str) -> int:
    attributes = context.queue_attributes(queue_arn)
    return sum(int(attributes[name]) for name in _COUNTS)


def _metric(
    context: Context,
    namespace: str,
    name: str,
    dimensions: dict[str, str],
    statistic: str = "Sum",
) -> float | None:
    """The metric's sum or maximum of the last hour; None: it has no value."""
    now = datetime.now(UTC)
    points = context.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now,
        Period=3600,
        Statistics=[statistic],
    )["Datapoints"]
    values = [float(point[statistic]) for point in points]
    combined = max if statistic == "Maximum" else sum
    return combined(values) if values else None


def _lines(context: Context, found: S3Object) -> Iterator[dict[str, Any]]:
    content = gzip.GzipFile(fileobj=io.BytesIO(context.body(found, _MOST_BYTES)))
    try:
        lines = content.read(_MOST_BYTES).split(b"\n")
    except (OSError, EOFError, zlib.error):
        return
    # The last one may be cut; a whole file ends with a line feed.
    yield from map(json.loads, lines[:-1])


def _topic_of_raw(line: str) -> str:
    """The topic of a raw line in base64, which may be anything."""
    try:
        return str(json.loads(base64.b64decode(line))["topic"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _thing_of(topic: str) -> str | None:
    levels = topic.split("/")
    return levels[2] if len(levels) > 3 else None


def _log_line(message: str) -> str:
    """What a line of the function's log says, in short."""
    try:
        content = json.loads(message)
        parts = [content[key] for key in _LOG_KEYS if content.get(key)]
    except (ValueError, AttributeError):
        parts = []
    return " ".join((" ".join(map(str, parts)) or message).split())[:300]


_LOG_KEYS = ("message", "error_type", "errorType", "reason", "errorMessage")


def _ago(moment: datetime) -> str:
    seconds = max((datetime.now(UTC) - moment).total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


RULE = Stage(
    "rule",
    ExitStatus.RULE,
    {
        "exists": rule_exists,
        "enabled": rule_enabled,
        "filter": rule_filter,
        "actions": rule_action,
        "metrics": rule_metrics,
    },
    needs=("environment",),
)
DELIVERY = Stage(
    "delivery",
    ExitStatus.DELIVERY,
    {
        "stream": stream_active,
        "metrics": stream_metrics,
        "raw/": raw_objects,
        "failed/": failed_objects,
        "undelivered/": undelivered_objects,
    },
    needs=("environment",),
)
PARSER = Stage(
    "parser",
    ExitStatus.PARSER,
    {
        "notification": notification,
        "queue": queue_policy,
        "trigger": trigger,
        "function": function_state,
        "concurrency": function_concurrency,
        "errors": function_errors,
        "dead letters": dead_letters,
        "backlog": backlog,
    },
    needs=("environment",),
)
READINGS = Stage(
    "readings",
    ExitStatus.INVALID,
    {"rejected": rejected_readings},
    needs=("environment",),
)
TABLE = Stage(
    "table",
    ExitStatus.TABLE,
    {"exists": table_exists, "rows": table_count},
    needs=("environment",),
)
