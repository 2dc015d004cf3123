"""EnvironmentConfig: one environment's block of cdk.json, checked once, then frozen."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from aws_cdk import Environment
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from contracts.names import ENVIRONMENT_PATTERN

_PLACE = "cdk.json: context.environments"

# Environments that must not lose their data, and must name their account and region.
_GUARDED = ("stage", "prod")

# AWS allows 50 tags per resource; the stack and the CDK add some of their own.
_MAX_TAGS = 45
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_TAG_TEXT = r"[\w .:/=+@-]"
_TAG_EXPECTED = 'letters, digits, spaces or any of "_.:/=+-@"'

# HTML's definition of a valid e-mail address: https://html.spec.whatwg.org/#valid-e-mail-address
_EMAIL = (
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"(?=.{1,189}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)


def _text(pattern: str, expected: str) -> BeforeValidator:
    """Accept strings that match ``pattern`` as a whole."""

    def check(value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise PydanticCustomError("text", "expected " + expected)
        return value

    return BeforeValidator(check)


def _check_tags(tags: object) -> object:
    """Accept tags that every service accepts: IAM does not tell keys apart by case."""
    if not isinstance(tags, dict):
        raise _tag_error("expected an object of strings")
    if len(tags) > _MAX_TAGS:
        raise _tag_error(f"expected at most {_MAX_TAGS} tags, got {len(tags)}")
    seen = {"environment": "environment, which the stack sets"}
    for key, value in tags.items():
        shown = json.dumps(key)
        if not re.fullmatch(rf"{_TAG_TEXT}{{1,128}}", key) or key.casefold().startswith("aws:"):
            raise _tag_error(
                f"{shown}: expected a key of 1 to 128 {_TAG_EXPECTED}, not starting with aws:"
            )
        if key.casefold() in seen:
            raise _tag_error(
                f"{shown}: expected a key that differs in more than case from "
                f"{seen[key.casefold()]}"
            )
        if not isinstance(value, str) or not re.fullmatch(rf"{_TAG_TEXT}{{0,256}}", value):
            raise _tag_error(f"{shown}: expected a string of at most 256 {_TAG_EXPECTED}")
        seen[key.casefold()] = shown
    return tags


def _tag_error(message: str) -> PydanticCustomError:
    return PydanticCustomError("tags", "{message}", {"message": message})


_Days = Annotated[int, Field(ge=1, le=36500)]
# History is rebuilt for two days, from raw; until it is there, the live table has to serve them.
_HistoryDays = Annotated[int, Field(ge=3, le=36500)]
# An alarm sees at most a day, and metrics of the last minutes may still be on their way.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
_SilenceMinutes = Annotated[int, Field(ge=5, le=1440)]


class ConfigError(ValueError):
    """An environment's block is wrong: the place, what was got, and what is allowed."""


class EnvironmentConfig(BaseModel):
    """What differs between environments; every key has a default but the guarded ones.

    Attributes:
        name: ``dev``, ``stage``, ``prod`` or ``local``; part of topics, rule and stack names.
        account: AWS account, 12 digits. None for that of the credentials used to deploy.
        region: None for that of the credentials used to deploy.
        buffering_interval_seconds: How long Firehose holds a batch open.
        buffering_size_mebibytes: Size at which Firehose closes a batch earlier.
        raw_retention_days: Objects in the raw bucket expire after this; then no replay is possible.
        parsed_retention_days: Rows of the live table, and rejected lines, expire after this.
        daily_retention_days: Rows of the daily table expire after this.
        removal_policy: What deleting the stack does to the data; stage and prod retain it.
        parser_memory_mebibytes: The parser's memory; its share of a CPU grows with it.
        parser_timeout_seconds: The parser's time for one object.
        parser_maximum_concurrency: Objects of one channel that are parsed at the same time.
        rebuild_memory_mebibytes: The memory of the function that rebuilds an hour of history.
        rebuild_maximum_concurrency: Hours that are rebuilt at the same time.
        rebuild_tolerated_failure_percentage: When more hours than this have failed, the rest of
            them is not tried.
        alarm_email: Receives alarms after confirming the subscription. None for no mails.
        silence_alarm_minutes: How long a channel may be without a message before an alarm, by
            channel. A channel that is not named may be silent.
        iot_log_level: What AWS IoT logs about the environment's devices, in an account whose IoT
            logging is switched on. None for the account's own level. Not in the emulator.
        tags: On every resource, beside ``environment``.

    Bounds: https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html,
    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, _text(ENVIRONMENT_PATTERN, f"a name that matches {ENVIRONMENT_PATTERN}")]
    account: Annotated[str, _text("[0-9]{12}", "a string of 12 digits")] | None = None
    region: (
        Annotated[
            str,
            _text("[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", 'an AWS region such as "eu-central-1"'),
        ]
        | None
    ) = None
    buffering_interval_seconds: Annotated[int, Field(ge=0, le=900)] = 60
    buffering_size_mebibytes: Annotated[int, Field(ge=1, le=128)] = 64
    raw_retention_days: _HistoryDays = 365
    parsed_retention_days: _HistoryDays = 35
    daily_retention_days: _Days = 1095
    removal_policy: Literal["retain", "destroy"] = "retain"
    parser_memory_mebibytes: Annotated[int, Field(ge=512, le=10240)] = 1769
    parser_timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 300
    parser_maximum_concurrency: Annotated[int, Field(ge=2, le=1000)] = 10
    rebuild_memory_mebibytes: Annotated[int, Field(ge=1024, le=10240)] = 1769
    rebuild_maximum_concurrency: Annotated[int, Field(ge=1, le=1000)] = 10
    rebuild_tolerated_failure_percentage: Annotated[int, Field(ge=0, le=100)] = 50
    alarm_email: Annotated[str, _text(_EMAIL, "an e-mail address in ASCII")] | None = None
    silence_alarm_minutes: dict[str, _SilenceMinutes] = {}
    iot_log_level: Literal["DEBUG", "INFO", "WARN", "ERROR", "DISABLED"] | None = None
    tags: Annotated[dict[str, str], BeforeValidator(_check_tags)] = {}

    @model_validator(mode="after")
    def _guard(self) -> "EnvironmentConfig":
        if self.name in _GUARDED:
            for key in ("account", "region"):
                if getattr(self, key) is None:
                    raise ConfigError(f"{_PLACE}.{self.name}.{key}: missing; {self.name} needs it")
            if self.removal_policy != "retain":
                raise ConfigError(
                    f'{_PLACE}.{self.name}.removal_policy: got "{self.removal_policy}", '
                    f'expected "retain", as {self.name} must not lose its data'
                )
        if self.name == "local" and self.iot_log_level is not None:
            raise ConfigError(
                f'{_PLACE}.local.iot_log_level: got "{self.iot_log_level}", expected no such key, '
                "as the emulator has no AWS IoT logs"
            )
        return self

    @property
    def environment(self) -> Environment:
        """Where the CDK deploys to."""
        return Environment(account=self.account, region=self.region)

    def silence_minutes_of(self, channels: Collection[str]) -> Mapping[str, int]:
        """Return ``silence_alarm_minutes``.

        Raises:
            ConfigError: It names a channel that is not in ``channels``.
        """
        for channel in self.silence_alarm_minutes:
            if channel not in channels:
                raise ConfigError(
                    f"{_PLACE}.{self.name}.silence_alarm_minutes.{_key(channel)}: unknown channel, "
                    f"expected one of {', '.join(channels)}"
                )
        return self.silence_alarm_minutes


def load(environments: object, name: object) -> EnvironmentConfig:
    """Read the block of environment ``name`` from cdk.json's ``context.environments``.

    Raises:
        ConfigError: One line that names the place, the value got and what is allowed.
    """
    if not isinstance(environments, Mapping) or not environments:
        raise ConfigError(
            f"{_PLACE}: got {_shown(environments)}, expected an object with a block for each "
            "environment"
        )
    if not isinstance(name, str) or name not in environments:
        raise ConfigError(
            f"-c env={name}: expected one of the environments in cdk.json: "
            f"{', '.join(sorted(map(str, environments)))}"
        )
    block = environments[name]
    if not isinstance(block, Mapping):
        raise ConfigError(f"{_PLACE}.{name}: got {_shown(block)}, expected an object")
    if "name" in block:  # the block's own key is its name
        raise ConfigError(_unknown(f"{_PLACE}.{name}.name"))
    try:
        return EnvironmentConfig(**{**block, "name": name})
    except ValidationError as error:
        raise ConfigError(_one_line(name, error)) from None


def _one_line(name: str, error: ValidationError) -> str:
    first = error.errors()[0]
    keys = [_key(str(key)) for key in first["loc"]]
    if keys == ["name"]:
        return f"{_PLACE}.{name}: {first['msg']}"
    place = ".".join([f"{_PLACE}.{name}", *keys])
    if first["type"] == "extra_forbidden":
        return _unknown(place)
    if isinstance(first.get("ctx", {}).get("error"), ConfigError):
        return str(first["ctx"]["error"])
    return f"{place}: got {_shown(first['input'])}; {first['msg'][0].lower()}{first['msg'][1:]}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w:-]+", key, re.ASCII) else json.dumps(key)


def _unknown(place: str) -> str:
    known = sorted(set(EnvironmentConfig.model_fields) - {"name"})
    return f"{place}: unknown key, expected one of {', '.join(known)}"


def _shown(value: object) -> str:
    text = re.sub(r"\s+", " ", json.dumps(value, default=repr))
    return text if len(text) <= 60 else text[:57] + "..."
