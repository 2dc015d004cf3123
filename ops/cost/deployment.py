"""What a synthesized template deploys, as far as AWS charges for it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts import names
from device.errors import DeviceError, ExitStatus
from device.identity import PROJECT_ROOT

_SYNTH_SECONDS = 300


class TemplateError(DeviceError):
    """There is no template, or it is not one of this project's stack."""

    status = ExitStatus.USAGE


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """A Lambda function: its memory, and its ``/tmp`` above the 512 MB that cost nothing."""

    memory_gb: float
    extra_storage_gb: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """What one environment's stack has, for one channel and for all of them.

    Attributes:
        buffering_seconds: How long Firehose holds a batch open.
        buffering_bytes: Size at which it closes a batch earlier, before compression.
        rules: Topic rules. AWS IoT evaluates each of them for a message to a plain topic.
        actions: Actions of the channel's rule.
        parser: The channel's parser.
        rebuild: Rebuilds history.
        silence: Looks for silent devices every hour; None if no contract asks for it.
        pollers: Queues that Lambda polls.
        channels: Channels, each with a parser of its own.
        raw_days: How long an object of the raw bucket is stored, with the days for which S3 keeps
            it as an old version.
        parsed_days: The same for the objects of the live table.
        daily_days: The same for the objects of the daily table.
        log_days: How long log events are kept, at most.
        nightly_hours: Hours that each nightly rebuild looks at.
        alarm_metrics: Metrics of all alarms.
        dashboards: CloudWatch dashboards.
    """

    buffering_seconds: int
    buffering_bytes: int
    rules: int
    actions: int
    parser: FunctionSettings
    rebuild: FunctionSettings
    silence: FunctionSettings | None
    pollers: int
    channels: int
    raw_days: int
    parsed_days: int
    daily_days: int
    log_days: int
    alarm_metrics: int
    dashboards: int
    nightly_hours: int = 48


def synthesize(environment: str) -> dict[str, Any]:
    """Return the template of ``environment``, from the CDK. Needs no credentials.

    Raises:
        TemplateError: The CDK failed; the message has its last line.
    """
    cdk = Path(sys.executable).with_name("cdk")
    if not cdk.exists():
        raise TemplateError("the CDK's command line is not installed; run make setup")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = os.pathsep.join([str(cdk.parent), os.environ.get("PATH", os.defpath)])
        try:
            done = subprocess.run(
                [
                    *(str(cdk), "synth", "--quiet", "--no-notices"),
                    *("-c", f"env={environment}", "--output", folder),
                ],
                cwd=PROJECT_ROOT,
                # Without the last one, the CDK looks for the credentials of a virtual machine.
                env={**os.environ, "PATH": path, "AWS_EC2_METADATA_DISABLED": "true"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SYNTH_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TemplateError(f"cdk synth took over {_SYNTH_SECONDS} s") from None
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            ours = [line for line in lines if line.startswith("error: ")]
            last = (ours or lines or ["it said nothing"])[-1].removeprefix("error: ")
            raise TemplateError(f"cdk synth failed: {last}; run make synth ENV={environment}")
        return load(Path(folder, "Pipeline.template.json"))


def load(path: Path) -> dict[str, Any]:
    """Read a template that ``make synth`` wrote.

    Raises:
        TemplateError: It is not JSON, or not a template.
    """
    try:
        template = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{path}: expected a synthesized template, got no JSON") from error
    resources = template.get("Resources") if isinstance(template, dict) else None
    if not isinstance(resources, dict):
        raise TemplateError(f"{path}: expected a synthesized template, got no Resources")
    return dict(template)


def read(template: Mapping[str, Any], environment: str, channel: str) -> Deployment:
    """Read what is charged for, for the load of ``channel``.

    Raises:
        TemplateError: A part of the stack is missing; the message names it.
    """
    try:
        return _read(_Template(template), environment, channel)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise TemplateError(
            f"expected the template of environment {environment} with channel {channel}, "
            f"got one without {error}; make it with make synth ENV={environment}"
        ) from error


def _read(template: "_Template", environment: str, channel: str) -> Deployment:
    rules = list(template.of("IoT::TopicRule"))
    rule = _only(
        (one for one in rules if one["RuleName"] == names.rule_name(environment, channel)), "rule"
    )
    hints = _only(
        (
            destination["BufferingHints"]
            for one in template.of("KinesisFirehose::DeliveryStream")
            if (destination := one["ExtendedS3DestinationConfiguration"])["Prefix"].startswith(
                f"raw/{channel}/"
            )
        ),
        "delivery stream",
    )
    parsers = {
        one["Environment"]["Variables"]["CHANNEL"]: one
        for one in template.functions("telemetry_parser.handler.handler")
    }
    silence = next(template.functions("telemetry_rebuild.silence_handler.handler"), None)
    raw, parsed = template.output("RawBucket"), template.output("ParsedBucket")
    return Deployment(
        buffering_seconds=int(hints["IntervalInSeconds"]),
        buffering_bytes=int(hints["SizeInMBs"]) * 1024**2,
        rules=len(rules),
        actions=len(rule["TopicRulePayload"]["Actions"]),
        parser=_function(parsers[channel]),
        rebuild=_function(
            _only(template.functions("telemetry_rebuild.handler.handler"), "rebuild function")
        ),
        silence=None if silence is None else _function(silence),
        pollers=len(list(template.of("Lambda::EventSourceMapping"))),
        channels=len(parsers),
        raw_days=_stored_days(raw, f"raw/{channel}/"),
        parsed_days=_stored_days(parsed, f"parsed/{channel}/"),
        daily_days=_stored_days(parsed, f"daily/{channel}/"),
        log_days=max(int(one["RetentionInDays"]) for one in template.of("Logs::LogGroup")),
        alarm_metrics=sum(
            sum("MetricStat" in metric for metric in one["Metrics"]) if "Metrics" in one else 1
            for one in template.of("CloudWatch::Alarm")
        ),
        dashboards=len(list(template.of("CloudWatch::Dashboard"))),
    )


class _Template:
    """A template's resources by type."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        self._template = template

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        """The properties of each resource of a type."""
        for resource in self._template["Resources"].values():
            if resource["Type"] == f"AWS::{kind}":
                yield resource.get("Properties", {})

    def functions(self, handler: str) -> Iterator[dict[str, Any]]:
        """The properties of each Lambda function with this handler."""
        return (one for one in self.of("Lambda::Function") if one["Handler"] == handler)

    def output(self, name: str) -> dict[str, Any]:
        """The properties of the resource that an output names."""
        logical_id = self._template["Outputs"][name]["Value"]["Ref"]
        return dict(self._template["Resources"][logical_id]["Properties"])


def _only(found: Iterator[dict[str, Any]], what: str) -> dict[str, Any]:
    first = next(found, None)
    if first is None:
        raise KeyError(what)
    return first


def _function(properties: Mapping[str, Any]) -> FunctionSettings:
    storage = int(properties.get("EphemeralStorage", {}).get("Size", 512))
    return FunctionSettings(int(properties["MemorySize"]) / 1024, (storage - 512) / 1024)


def _stored_days(bucket: Mapping[str, Any], prefix: str) -> int:
    """How long S3 stores an object: until it expires, and then as an old version."""
    rules = bucket["LifecycleConfiguration"]["Rules"]
    expiration = min(
        rule["ExpirationInDays"]
        for rule in rules
        if "ExpirationInDays" in rule and prefix.startswith(rule.get("Prefix", ""))
    )
    noncurrent = [
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in rules
        if "NoncurrentVersionExpiration" in rule
    ]
    return int(expiration) + int(min(noncurrent, default=0))
