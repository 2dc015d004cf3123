"""A pipeline in memory."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.ops.fakes import client_error

NOW = datetime.now(UTC)
ARN = "arn:aws:sqs:eu-central-1:123456789012:"


def hour(back: float = 0) -> str:
    return f"{NOW - timedelta(hours=back):dt=%Y-%m-%d/hour=%H}"


class Bucket:
    """S3 with two buckets, that counts its requests."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], tuple[bytes, datetime]] = {}
        self.pages = 0

    def add(self, key: str, minutes_ago: float, content: bytes = b"") -> None:
        bucket = "parsed" if key.startswith(("parsed/", "rejected/")) else "raw"
        self.objects[bucket, key] = (content, NOW - timedelta(minutes=minutes_ago))

    def get_bucket_notification_configuration(self, **_: Any) -> dict[str, Any]:
        events = ["s3:ObjectCreated:*"]
        return {"QueueConfigurations": [{"QueueArn": f"{ARN}live", "Events": events}]}

    def get_paginator(self, operation: str) -> "Bucket":
        assert operation == "list_objects_v2"
        return self

    def paginate(
        self,
        *,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        Delimiter: str | None = None,  # noqa: N803
        PaginationConfig: dict[str, int] | None = None,  # noqa: N803
    ) -> Iterator[dict[str, Any]]:
        self.pages += 1
        keys = sorted(key for bucket, key in self.objects if bucket == Bucket)
        keys = [key for key in keys if key.startswith(Prefix)]
        if Delimiter:
            below = {f"{Prefix}{key.removeprefix(Prefix).partition('/')[0]}/" for key in keys}
            yield {"CommonPrefixes": [{"Prefix": each} for each in sorted(below)]}
            return
        assert PaginationConfig is not None, "a listing without a bound"
        found = [
            {"Key": key, "Size": len(content), "LastModified": moment}
            for key in keys[: PaginationConfig["MaxItems"]]
            for content, moment in [self.objects[Bucket, key]]
        ]
        yield {"Contents": found} if found else {}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if (Bucket, Key) not in self.objects:
            raise client_error("GetObject", "NoSuchKey", 404)
        return {"Body": io.BytesIO(self.objects[Bucket, Key][0])}


class Aws:
    """Every service that status reads, in one object."""

    def __init__(self) -> None:
        self.s3 = Bucket()
        self.log: list[str] = []
        self.metrics: dict[str, float] = {}
        self.events = {"live": 0, "dead": 0}
        self.executions: list[dict[str, Any]] = []
        self.rule_error: str | None = None
        self.mappings: list[dict[str, Any]] = [
            {"FunctionArn": "parser", "UUID": "11-22", "State": "Enabled"}
        ]
        self.alarms: list[dict[str, Any]] = []

    def client(self, service: str) -> Any:
        return self.s3 if service == "s3" else self

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        names = {"RawBucket": "raw", "ParsedBucket": "parsed", "HistoryStateMachine": "machine"}
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in names.items()]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}

    def get_topic_rule(self, **_: Any) -> dict[str, Any]:
        if self.rule_error is not None:
            raise client_error("GetTopicRule", self.rule_error)
        return {"rule": {"actions": [{"firehose": {"deliveryStreamName": "stream"}}]}}

    def describe_delivery_stream(self, **_: Any) -> dict[str, Any]:
        destination = {"BufferingHints": {"IntervalInSeconds": 60}}
        description = {
            "DeliveryStreamName": "stream",
            "Destinations": [{"ExtendedS3DestinationDescription": destination}],
        }
        return {"DeliveryStreamDescription": description}

    def get_queue_url(self, *, QueueName: str) -> dict[str, str]:  # noqa: N803
        return {"QueueUrl": QueueName}

    def get_queue_attributes(self, *, QueueUrl: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        policy = json.dumps({"deadLetterTargetArn": f"{ARN}dead"})
        counts = {f"ApproximateNumberOfMessages{name}": "0" for name in ("NotVisible", "Delayed")}
        counts["ApproximateNumberOfMessages"] = str(self.events[QueueUrl])
        return {"Attributes": counts | {"RedrivePolicy": policy}}

    def list_event_source_mappings(self, **_: Any) -> dict[str, Any]:
        return {"EventSourceMappings": self.mappings}

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        return {"FunctionName": "parser"}

    def get_paginator(self, operation: str) -> "Aws":
        assert operation == "filter_log_events"
        return self

    def paginate(self, *, PaginationConfig: dict[str, int], **request: Any) -> Any:  # noqa: N803
        wanted = "ERROR" if request["filterPattern"] == "ERROR" else "parsed"
        found = [{"message": line, "timestamp": 0} for line in self.log if wanted in line]
        yield {"events": found[: PaginationConfig["MaxItems"]]}

    def get_metric_statistics(self, *, MetricName: str, **request: Any) -> Any:  # noqa: N803
        value = self.metrics.get(MetricName)
        (statistic,) = request["Statistics"]
        return {"Datapoints": [] if value is None else [{statistic: value}]}

    def describe_alarms(self, **request: Any) -> dict[str, Any]:
        assert request["AlarmNamePrefix"] == "telemetry-dev-"
        assert request["StateValue"] == "ALARM"
        return {"MetricAlarms": self.alarms}

    def list_executions(self, **_: Any) -> dict[str, Any]:
        return {"executions": self.executions}

    def list_map_runs(self, **_: Any) -> dict[str, Any]:
        return {"mapRuns": [{"mapRunArn": "run"}]}

    def describe_map_run(self, **_: Any) -> dict[str, Any]:
        return {"itemCounts": {"total": 48, "failed": 3}}
