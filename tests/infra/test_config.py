"""EnvironmentConfig: what a block of cdk.json may hold, and what a mistake in it says."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.config import ConfigError, EnvironmentConfig, load
from tests.infra.conftest import CONTEXT, ENVIRONMENTS

PLACE = "cdk.json: context.environments"
GUARDED = {"account": "123456789012", "region": "eu-central-1"}


def error_of(block: object, name: str = "dev") -> str:
    with pytest.raises(ConfigError) as raised:
        load({name: block}, name)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_reads_every_environment_of_cdk_json(name: str) -> None:
    assert load(CONTEXT["environments"], name).name == name


def test_an_empty_block_is_enough_for_dev() -> None:
    assert load({"dev": {}}, "dev") == EnvironmentConfig(name="dev")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("account", "12345678901", "a string of 12 digits"),
        ("account", 123456789012, "a string of 12 digits"),
        ("account", "123456789012\n", "a string of 12 digits"),
        ("region", "Frankfurt", "an AWS region"),
        ("buffering_interval_seconds", 901, "less than or equal to 900"),
        ("buffering_interval_seconds", "60", "a valid integer"),
        ("buffering_interval_seconds", True, "a valid integer"),
        ("buffering_interval_seconds", 1.5, "a valid integer"),
        ("buffering_size_mebibytes", 0, "greater than or equal to 1"),
        ("raw_retention_days", 2, "greater than or equal to 3"),
        ("parsed_retention_days", 2, "greater than or equal to 3"),
        ("daily_retention_days", 0, "greater than or equal to 1"),
        ("rebuild_memory_mebibytes", 1023, "greater than or equal to 1024"),
        ("rebuild_maximum_concurrency", 0, "greater than or equal to 1"),
        ("rebuild_maximum_concurrency", 1001, "less than or equal to 1000"),
        ("rebuild_tolerated_failure_percentage", 101, "less than or equal to 100"),
        ("parsed_retention_days", None, "a valid integer"),
        ("removal_policy", "snapshot", "'retain' or 'destroy'"),
        ("parser_memory_mebibytes", 10241, "less than or equal to 10240"),
        ("parser_timeout_seconds", 901, "less than or equal to 900"),
        ("parser_maximum_concurrency", 1, "greater than or equal to 2"),
        ("region", "eu-central-1\n", "an AWS region"),
        ("alarm_email", "ops at example.com", "an e-mail address"),
        ("alarm_email", "ops@example.com\n", "an e-mail address"),
        ("alarm_email", "öps@example.com", "an e-mail address"),
        ("alarm_email", f"{'o' * 65}@example.com", "an e-mail address"),
        ("alarm_email", f"ops@{'x.' * 130}example.com", "an e-mail address"),
        ("silence_alarm_minutes", 30, "a valid dictionary"),
        ("silence_alarm_minutes", {"telemetry": 4}, "greater than or equal to 5"),
        ("silence_alarm_minutes", {"telemetry": 1441}, "less than or equal to 1440"),
        ("iot_log_level", "TRACE", "'DEBUG', 'INFO', 'WARN', 'ERROR' or 'DISABLED'"),
        ("tags", {"aws:owner": "me"}, "not starting with aws:"),
        ("tags", {"AWS:owner": "me"}, "not starting with aws:"),
        ("tags", {"": "me"}, "a key of 1 to 128"),
        ("tags", {"o" * 129: "me"}, "a key of 1 to 128"),
        ("tags", {"owner\n": "me"}, "a key of 1 to 128"),
        ("tags", {"owner": "me\n"}, "a string of at most 256"),
        ("tags", {"owner": "m" * 257}, "a string of at most 256"),
        ("tags", {"cost": 1}, "a string of at most 256"),
        ("tags", ["cost"], "an object of strings"),
        ("tags", {"Environment": "x"}, "differs in more than case from environment"),
        ("tags", {"environment": "x"}, "differs in more than case from environment"),
        ("tags", {"Owner": "x", "owner": "y"}, 'differs in more than case from "Owner"'),
        ("tags", {str(number): "x" for number in range(46)}, "at most 45 tags"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_what_is_allowed(
    key: str, value: object, expected: str
) -> None:
    message = error_of({key: value})
    assert message.startswith(f"{PLACE}.dev.{key}")
    assert expected in message


@pytest.mark.parametrize(
    "region", ["eu-central-1", "us-gov-west-1", "mx-central-1", "eusc-de-east-1", "us-iso-east-1"]
)
def test_regions_of_every_partition_are_accepted(region: str) -> None:
    assert load({"dev": {"region": region}}, "dev").region == region


@pytest.mark.parametrize(
    "email", ["ops@example.com", "first.last+alarms@sub-domain.example.co.uk", "o'x@example.museum"]
)
def test_addresses_are_accepted(email: str) -> None:
    assert load({"dev": {"alarm_email": email}}, "dev").alarm_email == email


def test_tags_of_any_script_are_accepted() -> None:
    tags = {"Kostenstelle": "Müller + Söhne", "所有者": "チーム"}
    assert load({"dev": {"tags": tags}}, "dev").tags == tags


def test_an_unknown_key_is_refused_and_the_known_ones_listed() -> None:
    message = error_of({"buffer_interval": 60})
    assert message.startswith(f"{PLACE}.dev.buffer_interval: unknown key")
    assert "buffering_interval_seconds" in message


@pytest.mark.parametrize("name", ["stage", "prod"])
@pytest.mark.parametrize("key", ["account", "region"])
def test_a_guarded_environment_must_name_its_account_and_region(name: str, key: str) -> None:
    block = {other: value for other, value in GUARDED.items() if other != key}
    assert error_of(block, name) == f"{PLACE}.{name}.{key}: missing; {name} needs it"


@pytest.mark.parametrize("name", ["stage", "prod"])
def test_a_guarded_environment_cannot_be_destroyed_with_its_data(name: str) -> None:
    assert 'expected "retain"' in error_of({**GUARDED, "removal_policy": "destroy"}, name)


@pytest.mark.parametrize("name", ["test", "", None, 3, ["dev"]])
def test_an_unknown_environment_is_refused_and_the_known_ones_listed(name: object) -> None:
    with pytest.raises(ConfigError, match="dev, prod"):
        load({"dev": {}, "prod": {}}, name)


@pytest.mark.parametrize("name", ["Dev", "my-env", "a" * 17, "1st"])
def test_an_environment_whose_name_cannot_be_part_of_a_rule_is_refused(name: str) -> None:
    assert error_of({}, name).startswith(f"{PLACE}.{name}")


@pytest.mark.parametrize("environments", [None, {}, [], "dev", 1])
def test_a_context_without_environments_is_refused(environments: object) -> None:
    with pytest.raises(ConfigError, match="expected an object with a block"):
        load(environments, "dev")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
_KEYS = st.sampled_from(sorted(set(EnvironmentConfig.model_fields))) | st.text(max_size=5)


@given(st.dictionaries(_KEYS, _JSON, max_size=3) | _JSON)
def test_any_json_is_a_configuration_or_a_one_line_error(block: Any) -> None:
    try:
        loaded = load({"dev": block}, "dev")
    except ConfigError as error:
        message = str(error)
        assert message.startswith(f"{PLACE}.dev")
        assert len(message.splitlines()) == 1
    else:
        assert json.loads(loaded.model_dump_json(exclude_unset=True)).keys() == {"name", *block}


def test_the_emulator_has_no_iot_logs() -> None:
    assert "the emulator has no AWS IoT logs" in error_of({"iot_log_level": "INFO"}, "local")
