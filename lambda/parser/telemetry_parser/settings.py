"""The function's environment variables, read once, checked and frozen.

| variable | value | default |
|---|---|---|
| `CHANNEL` | the contract's name | none: required |
| `PARSED_BUCKET` | bucket of the `parsed/` and `rejected/` objects | none: required |
| `MAX_LINE_BYTES` and the other fields of `Limits`, in upper case | a positive integer | `Limits` |

Powertools reads `POWERTOOLS_SERVICE_NAME`, `POWERTOOLS_METRICS_NAMESPACE` and more:
https://docs.aws.amazon.com/powertools/python/latest/environment_variables/
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import contracts

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one object; each is an environment variable of the same name in upper case.

    The defaults admit anything that IoT Core and Firehose can deliver: AWS IoT Core accepts
    payloads of 128 KiB, Firehose accepts records of 1,000 KiB and, when it is behind, writes
    batches above 128 MiB.
    See https://docs.aws.amazon.com/firehose/latest/dev/limits.html

    Attributes:
        max_line_bytes: Length of one raw line; an object with a longer one is refused.
        max_message_bytes: Size of one message's payload after gunzip; a larger one is rejected.
        max_message_values: JSON values in one message, estimated from its commas and braces, since
            a small payload of very many values takes much memory. More are rejected.
        max_object_bytes: Size of one object after gunzip, and that of all its gzip payloads
            after gunzip. A raw object beyond it is refused; a message beyond it is rejected.
        max_rejected_bytes: Size of repeated raw lines: each rejected reading of a message repeats
            the message's raw line. Beyond it, a message is rejected whole, with one line.
    """

    max_line_bytes: int = 4 * _MIB
    max_message_bytes: int = 8 * _MIB
    max_message_values: int = 1_000_000
    max_object_bytes: int = 2048 * _MIB
    max_rejected_bytes: int = 128 * _MIB

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables that are set; the other limits have their defaults.

        Raises:
            SettingsError: One of them is wrong.
        """
        return cls(
            **{
                field.name: positive(name, environment[name])
                for field in fields(cls)
                if (name := field.name.upper()) in environment
            }
        )


class SettingsError(ValueError):
    """An environment variable is missing or wrong; the message names it and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings that the stack gives the function.

    Attributes:
        contract: Of the channel whose objects are parsed.
        parsed_bucket: Name of the bucket for the outputs.
        limits: Bounds on the input.
    """

    contract: contracts.Contract
    parsed_bucket: str
    limits: Limits

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check every variable of the table above.

        Raises:
            SettingsError: One of them is missing or wrong.
        """
        try:
            contract = contracts.load(required(environment, "CHANNEL"))
        except contracts.ContractError as error:
            raise SettingsError(f"CHANNEL: {error}") from error
        return cls(
            contract=contract,
            parsed_bucket=required(environment, "PARSED_BUCKET"),
            limits=Limits.from_environment(environment),
        )


def required(environment: Mapping[str, str], name: str) -> str:
    """The value of a variable.

    Raises:
        SettingsError: It is not set, or empty.
    """
    value = environment.get(name, "")
    if not value:
        raise SettingsError(
            f"{name}: expected a value, got none; set it in the function's environment"
        )
    return value


def positive(name: str, text: str) -> int:
    """The positive integer that is the value of the variable ``name``.

    Raises:
        SettingsError: It is none.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingsError(f"{name}: expected a positive integer, got {text!r}")
    return int(text)
