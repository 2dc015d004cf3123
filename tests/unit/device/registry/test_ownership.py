"""Two environments in one account: a command of one never touches what is the other's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from device import aws, identity, rotate
from device import provision as provision_
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED
from device.errors import AwsError, ExitStatus, IdentityError
from device.registry.registration import provision
from ops import claim, revoke
from ops import list as list_
from ops.doctor.context import Context
from ops.doctor.examination import examine
from ops.doctor.findings import CheckOutcome
from ops.doctor.stages import registration
from tests.unit.device.fake_broker import FakeProof
from tests.unit.device.fakes import FakeIot, FakeIotData, environment

THEIRS = "stage-sensor"  # in stage
OURS = "sensor-1"  # in dev


@pytest.fixture
def iot(monkeypatch: pytest.MonkeyPatch) -> FakeIot:
    monkeypatch.setattr(mqtt, "Connection", lambda _: FakeProof(lambda _: ACKNOWLEDGED))
    return FakeIot(
        groups={"dev_devices": set(), "stage_devices": set()},
        policies={
            name: set() for name in ("dev_device", "dev_claim", "stage_device", "stage_claim")
        },
    )


@pytest.fixture
def dev(tmp_path: Path, iot: FakeIot, monkeypatch: pytest.MonkeyPatch) -> aws.AwsEnvironment:
    """Dev, and every command opens it; a thing, a customer and a claim are in each environment."""
    stage = environment(tmp_path, iot, name="stage")
    opened = environment(tmp_path, iot, iot_data=FakeIotData(iot.steps))
    for of, thing in ((stage, THEIRS), (opened, OURS)):
        provision(of, thing, lambda _: None)
        provision(of, thing, lambda _: None, customer="acme")
        claim.make(of, lambda _: None)
    monkeypatch.setattr(aws, "session_for", lambda *_: opened)
    iot.calls.clear()
    return opened


def stage_names(iot: FakeIot) -> set[str]:
    """Every name and id of stage, as calls could contain it."""
    policies = [name for name in iot.policies if name.startswith("stage_")]
    arns = {arn for name in policies for arn in iot.policies[name]}
    return {THEIRS, "stage_", *(arn.rpartition("/")[2] for arn in arns)}


def state_of_stage(iot: FakeIot, root: Path) -> dict[str, Any]:
    named = stage_names(iot)
    return {
        "certificates": {k: dict(v) for k, v in iot.certificates.items() if k in named},
        "policies": {k: set(v) for k, v in iot.policies.items() if k.startswith("stage_")},
        "principals": set(iot.things[THEIRS]),
        "attributes": dict(iot.attributes.get(THEIRS, {})),
        "group": set(iot.groups["stage_devices"]),
        "files": {p: p.read_bytes() for p in (root / "certs/stage").rglob("*") if p.is_file()},
    }


def invoke(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--env", "dev", *arguments])


COMMANDS: dict[str, Callable[[], Result]] = {
    "provision": lambda: invoke(provision_.main, OURS),
    "provision a new one": lambda: invoke(provision_.main, "sensor-2"),
    "provision a customer": lambda: invoke(provision_.main, OURS, "--customer", "umbrella"),
    "rotate": lambda: invoke(rotate.main, OURS),
    "list": lambda: invoke(list_.main),
    "claim": lambda: invoke(claim.main),
    "claim --revoke": lambda: invoke(claim.main, "--revoke", "--yes"),
    "revoke": lambda: invoke(revoke.main, OURS, "--yes"),
    "revoke --delete": lambda: invoke(revoke.main, OURS, "--delete", "--yes"),
    "revoke a customer": lambda: invoke(revoke.main, OURS, "--customer", "acme", "--yes"),
    "revoke --all": lambda: invoke(revoke.main, "--all", "--yes"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_call_of_a_dev_command_names_anything_of_stage(
    iot: FakeIot, dev: aws.AwsEnvironment, name: str
) -> None:
    before, named = state_of_stage(iot, dev.root), stage_names(iot)
    result = COMMANDS[name]()
    assert result.exit_code == ExitStatus.OK, result.stderr
    assert iot.calls
    for operation, arguments in iot.calls:
        assert not [n for n in named if n in str(arguments)], (operation, arguments)
    assert state_of_stage(iot, dev.root) == before


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (revoke.main, [THEIRS, "--yes"]),
        (revoke.main, [THEIRS, "--yes", "--delete"]),
        (revoke.main, [THEIRS, "--yes", "--delete", "--customer", "acme"]),
        (provision_.main, [THEIRS]),
        (provision_.main, [THEIRS, "--customer", "umbrella"]),
    ],
)
def test_a_thing_of_stage_is_refused_by_name_and_the_error_says_where_it_belongs(
    iot: FakeIot, dev: aws.AwsEnvironment, command: Any, arguments: list[str]
) -> None:
    before = state_of_stage(iot, dev.root)
    result = invoke(command, *arguments)
    assert result.exit_code == ExitStatus.CONFLICT
    assert f"expected thing {THEIRS} to belong to environment dev, got one of stage" in (
        result.stderr
    )
    assert "--env stage" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert iot.changes() == []
    assert state_of_stage(iot, dev.root) == before


def test_a_thing_of_stage_that_is_in_no_group_yet_is_told_by_its_certificate(
    iot: FakeIot, dev: aws.AwsEnvironment
) -> None:
    iot.groups["stage_devices"].clear()
    for command in (revoke.main, provision_.main):
        result = invoke(command, THEIRS)
        assert "got one of stage (by its certificate's policy)" in result.stderr
    assert iot.changes() == []


@pytest.fixture
def copied(dev: aws.AwsEnvironment) -> Path:
    """Stage's identity in a folder of dev."""
    folder = dev.root / "certs/dev" / THEIRS
    (dev.root / "certs/stage" / THEIRS).rename(folder)
    return folder


@pytest.mark.parametrize("command", [provision_.main, rotate.main])
def test_an_identity_in_another_environments_folder_is_refused(
    iot: FakeIot, copied: Path, command: Any
) -> None:
    result = invoke(command, THEIRS)
    assert result.exit_code == ExitStatus.IDENTITY
    assert f"move the folder to certs/stage/{THEIRS}" in result.stderr
    assert iot.changes() == []
    assert (copied / "private.key").exists()


@pytest.mark.parametrize("command", [provision_.main, rotate.main])
def test_an_identity_with_another_environments_certificate_is_refused(
    iot: FakeIot, dev: aws.AwsEnvironment, copied: Path, command: Any
) -> None:
    description = copied / "device.json"
    description.write_text(description.read_text().replace('"stage"', '"dev"'))
    iot.groups["stage_devices"].clear()
    iot.groups["dev_devices"].add(THEIRS)
    result = invoke(command, THEIRS)
    assert result.exit_code == ExitStatus.CONFLICT
    assert "certificate" in result.stderr
    assert "got one of stage (by its policy)" in result.stderr
    assert iot.changes() == []


def test_another_environments_claim_in_our_folder_is_neither_used_nor_removed(
    iot: FakeIot, dev: aws.AwsEnvironment
) -> None:
    invoke(claim.main, "--revoke", "--yes")
    folder = dev.root / "certs/dev/@claim"
    (dev.root / "certs/stage/@claim").rename(folder)
    iot.calls.clear()
    for arguments in ([], ["--revoke", "--yes"]):
        result = invoke(claim.main, *arguments)
        assert result.exit_code == ExitStatus.IDENTITY
        assert "move the folder to certs/stage/@claim" in result.stderr
    assert iot.changes() == []
    assert (folder / "private.key").exists()


@pytest.fixture
def shared(iot: FakeIot, dev: aws.AwsEnvironment) -> str:
    """A certificate of stage on a thing of dev, as someone has attached it by hand."""
    (theirs,) = iot.policies["stage_device"]
    iot.things[OURS].add(theirs)
    return str(theirs)


def test_another_environments_certificate_on_our_thing_is_left_alone_and_the_thing_kept(
    iot: FakeIot, dev: aws.AwsEnvironment, shared: str
) -> None:
    result = invoke(revoke.main, OURS, "--delete", "--yes")
    assert result.exit_code == ExitStatus.OK, result.stderr
    certificate_id = shared.rpartition("/")[2]
    assert f"certificate {certificate_id}: left alone; it belongs to environment stage" in (
        result.stderr
    )
    assert f"thing {OURS}: kept for stage" in result.stderr
    assert iot.things[OURS] == {shared}
    assert iot.certificates[certificate_id]["status"] == "ACTIVE"
    assert iot.groups["dev_devices"] == set()
    assert iot.policies["dev_device"] == set()


def test_a_certificate_of_both_environments_is_refused(
    iot: FakeIot, dev: aws.AwsEnvironment
) -> None:
    (ours,) = iot.policies["dev_device"]
    iot.policies["stage_device"].add(ours)
    for arguments in ([OURS, "--yes"], ["--all", "--yes"]):
        result = invoke(revoke.main, *arguments)
        assert result.exit_code == ExitStatus.CONFLICT
        assert "got one of stage" in result.stderr
    assert iot.changes() == []


def test_the_list_points_out_a_certificate_of_another_environment(
    iot: FakeIot, dev: aws.AwsEnvironment, shared: str
) -> None:
    found = {entry.certificate_id: entry.warnings for entry in list_.registrations(dev)}
    assert "has no policy of environment dev" in found[shared.rpartition("/")[2]]


def test_doctor_says_where_an_identity_of_stage_belongs_and_never_how_to_activate_it(
    iot: FakeIot, dev: aws.AwsEnvironment, copied: Path
) -> None:
    context = Context("dev", THEIRS, "telemetry", dev.root, environment=dev)
    findings = [
        f for f in examine(context, [registration.STAGE]) if f.outcome is CheckOutcome.FAILED
    ]
    assert [f.check for f in findings] == ["certificate"]
    assert "got one of stage" in findings[0].detail
    assert iot.changes() == []


def test_an_environments_own_group_counts_before_other_groups_with_a_like_name(
    tmp_path: Path, iot: FakeIot
) -> None:
    opened = environment(tmp_path, iot)
    provision(opened, OURS, lambda _: None)
    iot.groups["factory_devices"] = {OURS}
    iot.calls.clear()
    provision(opened, OURS, lambda _: None)
    assert iot.changes() == []


def test_rotating_a_thing_that_was_deleted_says_how_to_make_it_again(
    iot: FakeIot, dev: aws.AwsEnvironment
) -> None:
    iot.things.pop(OURS)
    with pytest.raises(AwsError, match=f"no thing named {OURS} in environment dev; run python -m"):
        rotate.rotate(dev, OURS, lambda _: None)


def test_rotating_what_was_never_provisioned_names_it_in_the_users_own_words(
    iot: FakeIot, dev: aws.AwsEnvironment
) -> None:
    with pytest.raises(IdentityError, match=r"provision --env dev sensor-9 --customer acme$"):
        rotate.rotate(dev, "sensor-9", lambda _: None, customer="acme")
    assert not identity.folder_of("dev", "sensor-9.acme", dev.root).exists()
