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
from telemetry_parser.limits import Limits


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
            contract = contracts.load(_required(environment, "CHANNEL"))
        except contracts.ContractError as error:
            raise SettingsError(f"CHANNEL: {error}") from error
        return cls(
            contract=contract,
            parsed_bucket=_required(environment, "PARSED_BUCKET"),
            limits=Limits(
                **{
                    field.name: _positive(name, environment[name])
                    for field in fields(Limits)
                    if (name := field.name.upper()) in environment
                }
            ),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(
            f"{name}: expected a value, got none; set it in the function's environment"
        )
    return value


def _positive(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise SettingsError(f"{name}: expected a positive integer, got {text!r}")
    return int(text)
