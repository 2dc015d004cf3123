"""Firehose: from the rule to the raw bucket."""

import json
from itertools import islice

from device import aws, cli
from device.errors import ExitStatus
from ops import raw_lines
from ops.doctor import buckets, metrics, remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed


def stream(context: Context) -> str:
    """The delivery stream is there, active, and writes to the raw bucket."""
    firehose, deployed = context.client("firehose"), context.deployed
    try:
        status = deployed.stream["DeliveryStreamStatus"]
    except firehose.exceptions.ResourceNotFoundException:
        raise Failed(
            "the rule's delivery stream does not exist", remedies.deploy(context)
        ) from None
    if status != "ACTIVE":
        raise Failed(f"the delivery stream is {status}", remedies.deploy(context))
    bucket = str(deployed.destination["BucketARN"]).rpartition(":")[2]
    if bucket != deployed.raw_bucket:
        raise Failed(
            f"the stream writes to {bucket}, not {deployed.raw_bucket}", remedies.deploy(context)
        )
    return f"ACTIVE; writes a batch every {deployed.buffering_interval_seconds} s"


def freshness(context: Context) -> str:
    """Firehose can write."""
    deployed = context.deployed
    name = {"DeliveryStreamName": str(deployed.stream["DeliveryStreamName"])}
    age = metrics.last_hour(context, "AWS/Firehose", "DeliveryToS3.DataFreshness", name, "Maximum")
    if age > deployed.buffering_interval_seconds + metrics.LATE_SECONDS:
        group = deployed.destination["CloudWatchLoggingOptions"].get("LogGroupName", "")
        raise Failed(
            f"Firehose's oldest undelivered record was {age:.0f} s old within the last hour",
            remedies.command(context, f"logs tail --since 1h {group}")
            + ", and fix the error there",
            blocks=False,
        )
    return f"the oldest undelivered record was at most {age:.0f} s old in the last hour"


def raw_objects(context: Context) -> str:
    """Say whether messages of any device arrive."""
    raw = buckets.newest(context, context.deployed.raw_bucket, f"raw/{context.channel}/")
    found = next(raw, None)
    if found is None:
        return "no message of any device has arrived in the last 24 h"
    return f"the newest batch, of any device, came {cli.utc(found.modified)}"


def failed_objects(context: Context) -> str:
    """Firehose has not given up any record."""
    bucket = context.deployed.raw_bucket
    folder = {"Bucket": bucket, "Prefix": "failed/", "Delimiter": "/"}
    for type_ in aws.listed(context.client("s3"), "list_objects_v2", "CommonPrefixes", **folder):
        prefix = f"{type_['Prefix']}{context.channel}/"
        found = next(buckets.newest(context, bucket, prefix), None)
        if found is not None:
            raise Failed(
                f"Firehose gave up records at {cli.utc(found.modified)}: {found.url}",
                "fix what the errorMessage in that object says, then "
                + remedies.for_channel(context, "ops.recover"),
                blocks=False,
            )
    return "nothing under failed/ in the last 24 h"


def undelivered_objects(context: Context) -> str:
    """No message of this device was refused by Firehose."""
    prefix = f"undelivered/{context.channel}/"
    recent = buckets.newest_of_days(context, context.deployed.raw_bucket, prefix)
    for found in islice(recent, buckets.MOST_OBJECTS):
        document = json.loads(buckets.body(context, found))
        if raw_lines.thing_of(document.get("topic")) == context.thing_name:
            reason = " ".join(str(document["failures"][0]["errorMessage"]).split())
            raise Failed(
                "Firehose refused a message of this device at "
                f"{cli.utc(found.modified)}: {reason[:300]}",
                f"fix that; the message is kept in {found.url}; to bring it back, "
                + remedies.for_channel(context, "ops.recover"),
                blocks=False,
            )
    return "nothing of this device under undelivered/ since yesterday"


STAGE = Stage(
    "delivery",
    ExitStatus.DELIVERY,
    {
        "stream": stream,
        "metrics": freshness,
        "raw/": raw_objects,
        "failed/": failed_objects,
        "undelivered/": undelivered_objects,
    },
    needs=("environment",),
)
