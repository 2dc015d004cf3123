"""The environment variables: read, checked, explained."""

import pytest

from telemetry_parser.settings import SettingsError
from telemetry_rebuild.settings import RebuildSettings

REQUIRED = {"RAW_BUCKET": "raw", "PARSED_BUCKET": "parsed", "DAILY_RETENTION_DAYS": "1095"}


def test_three_variables_are_enough() -> None:
    settings = RebuildSettings.from_environment(REQUIRED)
    assert (settings.raw_bucket, settings.parsed_bucket) == ("raw", "parsed")
    assert settings.daily_retention_days == 1095
    assert (settings.sort_memory_mebibytes, settings.sort_threads) == (512, 1)


def test_limits_and_resources_are_variables() -> None:
    more = {"MAX_LINE_BYTES": "7", "SORT_MEMORY_MEBIBYTES": "256", "SORT_THREADS": "2"}
    settings = RebuildSettings.from_environment(REQUIRED | more)
    assert settings.limits.max_line_bytes == 7
    assert (settings.sort_memory_mebibytes, settings.sort_threads) == (256, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RAW_BUCKET": ""}, "RAW_BUCKET: expected a value"),
        ({"PARSED_BUCKET": ""}, "PARSED_BUCKET: expected a value"),
        ({"DAILY_RETENTION_DAYS": ""}, "DAILY_RETENTION_DAYS: expected a value"),
        ({"DAILY_RETENTION_DAYS": "3 y"}, "DAILY_RETENTION_DAYS: expected a positive integer"),
        ({"SORT_THREADS": "0"}, "SORT_THREADS: expected a positive integer, got '0'"),
        ({"MAX_LINE_BYTES": "x"}, "MAX_LINE_BYTES: expected a positive integer"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(
    change: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        RebuildSettings.from_environment(REQUIRED | change)
