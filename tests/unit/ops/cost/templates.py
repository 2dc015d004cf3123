"""A template with just what ``ops.cost`` reads."""

from typing import Any

_EXPIRED = {"NoncurrentVersionExpiration": {"NoncurrentDays": 30}, "Status": "Enabled"}


def _resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": f"AWS::{kind}", "Properties": properties}


def template(channels: tuple[str, ...] = ("telemetry",)) -> dict[str, Any]:
    """Two buckets, one rebuild, three alarms, and a pipeline per channel."""
    resources = {
        "Raw": _resource(
            "S3::Bucket",
            LifecycleConfiguration={
                "Rules": [{"ExpirationInDays": 60, "Status": "Enabled"}, _EXPIRED]
            },
        ),
        "Parsed": _resource(
            "S3::Bucket",
            LifecycleConfiguration={
                "Rules": [
                    {"ExpirationInDays": 30, "Prefix": "parsed/"},
                    {"ExpirationInDays": 90, "Prefix": "daily/"},
                    _EXPIRED,
                ]
            },
        ),
        "Rebuild": _resource(
            "Lambda::Function",
            Handler="telemetry_rebuild.handler.handler",
            MemorySize=2048,
            EphemeralStorage={"Size": 10240},
        ),
        "Logs": _resource("Logs::LogGroup", RetentionInDays=30),
        "Alarm": _resource("CloudWatch::Alarm", Namespace="AWS/IoT"),
        "MathAlarm": _resource(
            "CloudWatch::Alarm",
            Metrics=[{"MetricStat": {}}, {"MetricStat": {}}, {"Expression": "m1/m2"}],
        ),
        "Board": _resource("CloudWatch::Dashboard"),
        "Other": _resource("IAM::Role"),
    }
    for name in channels:
        resources |= {
            f"{name}Rule": _resource(
                "IoT::TopicRule",
                RuleName=f"dev_{name}",
                TopicRulePayload={"Actions": [{"Firehose": {}}]},
            ),
            f"{name}Stream": _resource(
                "KinesisFirehose::DeliveryStream",
                ExtendedS3DestinationConfiguration={
                    "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 64},
                    "Prefix": f"raw/{name}/dt=",
                },
            ),
            f"{name}Parser": _resource(
                "Lambda::Function",
                Handler="telemetry_parser.handler.handler",
                MemorySize=1024,
                Environment={"Variables": {"CHANNEL": name}},
            ),
            f"{name}Mapping": _resource("Lambda::EventSourceMapping"),
        }
    return {
        "Resources": resources,
        "Outputs": {
            "RawBucket": {"Value": {"Ref": "Raw"}},
            "ParsedBucket": {"Value": {"Ref": "Parsed"}},
        },
    }
