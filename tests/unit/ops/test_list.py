"""ops.list: who is there, and what a person should look at."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from device import aws
from device.errors import AwsError, ExitStatus
from device.registry.registration import provision
from ops import list as list_
from ops.list import Registration
from tests.unit.device.fakes import FakeIot, environment

THING = "sensor-1"


@pytest.fixture
def iot(tmp_path: Path) -> FakeIot:
    made = FakeIot()
    provision(environment(tmp_path, made), THING, lambda _: None)
    return made


def listed(tmp_path: Path, iot: FakeIot) -> list[Registration]:
    return list_.registrations(environment(tmp_path, iot))


def arn_of(iot: FakeIot) -> str:
    (record,) = iot.certificates.values()
    return str(record["certificateArn"])


def test_a_sound_thing_has_no_warning(tmp_path: Path, iot: FakeIot) -> None:
    (entry,) = listed(tmp_path, iot)
    (certificate_id,) = iot.certificates
    assert entry == Registration(THING, certificate_id, "ACTIVE", 0)


def test_warns_of_a_shared_certificate(tmp_path: Path, iot: FakeIot) -> None:
    iot.things["sensor-2"] = {arn_of(iot)}
    iot.groups["dev_devices"].add("sensor-2")
    assert {entry.thing_name: entry.warnings for entry in listed(tmp_path, iot)} == {
        THING: ("shared with sensor-2",),
        "sensor-2": (f"shared with {THING}",),
    }


def test_warns_of_an_old_certificate(tmp_path: Path, iot: FakeIot) -> None:
    for record in iot.certificates.values():
        record["creationDate"] = datetime.now(UTC) - timedelta(days=366)
    (entry,) = listed(tmp_path, iot)
    assert (entry.age_days, entry.warnings) == (366, ("older than 365 days",))


def test_warns_of_an_inactive_certificate_that_is_attached(tmp_path: Path, iot: FakeIot) -> None:
    for record in iot.certificates.values():
        record["status"] = "INACTIVE"
    (entry,) = listed(tmp_path, iot)
    assert entry.warnings == ("inactive, but attached",)


def test_warns_of_a_certificate_that_is_attached_to_nothing(tmp_path: Path, iot: FakeIot) -> None:
    iot.things[THING].clear()
    bare, unattached = listed(tmp_path, iot)
    assert (bare.thing_name, bare.warnings) == (THING, ("no certificate",))
    assert (unattached.thing_name, unattached.warnings) == (None, ("attached to no thing",))


def test_tells_the_last_connection_where_it_is_indexed(tmp_path: Path, iot: FakeIot) -> None:
    moment = datetime(2026, 11, 1, 12, tzinfo=UTC)
    iot.indexed = [{"thingName": THING, "connectivity": {"timestamp": moment.timestamp() * 1000}}]
    (entry,) = listed(tmp_path, iot)
    assert entry.last_connection == moment


@pytest.mark.parametrize("output", ["table", "json"])
def test_prints_the_last_connection_as_every_other_time(
    tmp_path: Path, iot: FakeIot, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    iot.indexed = [{"thingName": THING, "connectivity": {"timestamp": 1793534400000}}]
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    result = CliRunner().invoke(list_.main, ["--env", "dev", "--format", output])
    assert "2026-11-01 12:00:00Z" in result.stdout


def test_warns_of_a_certificate_without_a_policy_of_the_environment(
    tmp_path: Path, iot: FakeIot
) -> None:
    iot.policies["dev_device"].clear()
    (entry,) = listed(tmp_path, iot)
    assert entry.warnings == ("has no policy of environment dev",)


def test_an_environment_without_things_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, FakeIot()))
    result = CliRunner().invoke(list_.main, ["--env", "dev"])
    assert (result.exit_code, result.stdout) == (ExitStatus.OK, "")
    assert result.stderr == "environment dev has no things and no certificates\n"


def test_changes_nothing(tmp_path: Path, iot: FakeIot) -> None:
    iot.calls.clear()
    listed(tmp_path, iot)
    assert set(iot.changes()) <= {"search_index"}


def test_a_stack_that_is_not_there_is_an_error(tmp_path: Path, iot: FakeIot) -> None:
    iot.groups.clear()
    with pytest.raises(AwsError, match="run cdk deploy -c env=dev") as caught:
        listed(tmp_path, iot)
    assert caught.value.status is ExitStatus.NO_STACK


@pytest.mark.parametrize("output", ["table", "json"])
def test_prints_whole_ids_in_either_format(
    tmp_path: Path, iot: FakeIot, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))
    result = CliRunner().invoke(list_.main, ["--env", "dev", "--format", output])
    assert result.exit_code == ExitStatus.OK
    assert all(identifier in result.stdout for identifier in iot.certificates)
    if output == "json":
        assert json.loads(result.stdout)["thing_name"] == THING
    assert result.stderr == "1 thing, 1 certificate, 0 lines with a warning\n"
