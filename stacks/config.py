"""EnvironmentConfig: one environment's block of cdk.json, checked once, then frozen."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from aws_cdk import Environment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contracts.names import ENVIRONMENT_PATTERN

_PLACE = "cdk.json: context.environments"

# Environments whose data must survive a mistake, and whose account nobody may have to guess.
_GUARDED = ("stage", "prod")

# S3's lifecycle rules count days in 32 bits; a hundred years is a typing mistake before that.
_Days = Annotated[int, Field(ge=1, le=36500)]
# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
_TagKey = Annotated[str, Field(pattern=r"^(?!aws:)[\w .:/=+@-]{1,128}\Z")]
_TagValue = Annotated[str, Field(pattern=r"^[\w .:/=+@-]{0,256}\Z")]


class ConfigError(ValueError):
    """An environment's block is wrong: the place, what was got, and what is allowed."""


class EnvironmentConfig(BaseModel):
    """What differs between environments; every key has a default but the guarded ones.

    Attributes:
        name: ``dev``, ``stage``, ``prod`` or ``local``; part of topics, rule and stack names.
        account: AWS account, 12 digits. None: that of the credentials used to deploy.
        region: None: that of the credentials used to deploy.
        buffering_interval_seconds: How long Firehose holds a batch open.
        buffering_size_mebibytes: Size at which Firehose closes a batch earlier.
        raw_retention_days: After this the raw bucket's objects, and the chance to replay, end.
        parsed_retention_days: After this parsed rows and rejected lines are removed.
        removal_policy: What deleting the stack does to the data; stage and prod retain it.
        parser_memory_mebibytes: The function's memory; its share of a CPU grows with it.
        parser_timeout_seconds: The function's time for one object.
        parser_maximum_concurrency: Objects of one channel that are parsed at the same time.
        alarm_email: Where alarms go, after the recipient has confirmed. None: nowhere.
        tags: On every resource.

    Bounds: https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html,
    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, regex_engine="python-re")

    name: Annotated[str, Field(pattern=rf"^{ENVIRONMENT_PATTERN}\Z")]
    account: Annotated[str, Field(pattern=r"^[0-9]{12}\Z")] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]\Z")] | None = None
    buffering_interval_seconds: Annotated[int, Field(ge=0, le=900)] = 60
    buffering_size_mebibytes: Annotated[int, Field(ge=1, le=128)] = 64
    raw_retention_days: _Days = 365
    parsed_retention_days: _Days = 1095
    removal_policy: Literal["retain", "destroy"] = "retain"
    parser_memory_mebibytes: Annotated[int, Field(ge=512, le=10240)] = 1769
    parser_timeout_seconds: Annotated[int, Field(ge=10, le=900)] = 300
    parser_maximum_concurrency: Annotated[int, Field(ge=2, le=1000)] = 10
    alarm_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+\Z")] | None = None
    tags: dict[_TagKey, _TagValue] = {}

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
        return self

    @property
    def environment(self) -> Environment:
        """Where the CDK deploys to."""
        return Environment(account=self.account, region=self.region)


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
    keys = [_key(str(key)) for key in first["loc"] if key != "[key]"]
    if keys == ["name"]:
        return f"{_PLACE}.{name}: expected a name that matches {ENVIRONMENT_PATTERN}"
    place = ".".join([f"{_PLACE}.{name}", *keys])
    if first["type"] == "extra_forbidden":
        return _unknown(place)
    if isinstance(first.get("ctx", {}).get("error"), ConfigError):
        return str(first["ctx"]["error"])
    return f"{place}: got {_shown(first['input'])}, expected {_allowed(keys[0], first)}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w:-]+", key, re.ASCII) else json.dumps(key)


def _unknown(place: str) -> str:
    known = sorted(set(EnvironmentConfig.model_fields) - {"name"})
    return f"{place}: unknown key, expected one of {', '.join(known)}"


def _allowed(key: str, error: Mapping[str, Any]) -> str:
    """What ``key`` may be, from the field's own declaration."""
    if key == "tags":
        return (
            "an object of strings: keys of 1 to 128 and values of up to 256 letters, digits, "
            "spaces or _.:/=+-@, no key starting with aws:"
        )
    schema = EnvironmentConfig.model_json_schema()["properties"][key]
    schema = next(
        (option for option in schema.get("anyOf", ()) if option["type"] != "null"), schema
    )
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if schema["type"] == "integer":
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    readable = {
        "account": "a string of 12 digits",
        "region": 'an AWS region such as "eu-central-1"',
        "alarm_email": "an e-mail address",
    }
    return readable.get(key) or str(error["msg"])


def _shown(value: object) -> str:
    text = re.sub(r"\s+", " ", json.dumps(value, default=repr))
    return text if len(text) <= 60 else text[:57] + "..."
