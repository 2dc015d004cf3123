"""The environment variables: read, checked, explained."""

from dataclasses import fields

import pytest

from telemetry_parser.settings import Limits, Settings, SettingsError

REQUIRED = {"CHANNEL": "telemetry", "PARSED_BUCKET": "parsed"}


def test_two_variables_are_enough() -> None:
    settings = Settings.from_environment(REQUIRED)
    assert settings.contract.channel == "telemetry"
    assert settings.parsed_bucket == "parsed"
    assert settings.limits == Limits()


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_every_limit_is_a_variable(name: str) -> None:
    settings = Settings.from_environment(REQUIRED | {name.upper(): "12345"})
    assert getattr(settings.limits, name) == 12345


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"CHANNEL": ""}, "CHANNEL: expected a value"),
        ({"PARSED_BUCKET": ""}, "PARSED_BUCKET: expected a value"),
        ({"CHANNEL": "nosuch"}, "CHANNEL: expected one of telemetry"),
        ({"MAX_LINE_BYTES": "0"}, "MAX_LINE_BYTES: expected a positive integer, got '0'"),
        ({"MAX_LINE_BYTES": "-1"}, "MAX_LINE_BYTES"),
        ({"MAX_LINE_BYTES": "8 MiB"}, "MAX_LINE_BYTES"),
        ({"MAX_LINE_BYTES": ""}, "MAX_LINE_BYTES"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(
    change: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(REQUIRED | change)
