"""The life of an identity after provisioning, on the local stack."""

import json
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import names
from device import identity
from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_until
from tests.local.paho_client import RefusedError, connected

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def test_a_rotated_identity_publishes_and_the_old_certificate_is_gone(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    old = device.device
    for _ in range(2):
        done = run_module("device.rotate", "--env", ENVIRONMENT, old.thing_name)
        assert done.returncode == 0, done.stderr
        assert "connected and published" in done.stderr
    new = identity.load(device.folder).device
    assert new.certificate_id != old.certificate_id
    iot = lake.client("iot")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_certificate(certificateId=old.certificate_id)
    assert iot.list_thing_principals(thingName=old.thing_name)["principals"] == [
        new.certificate_arn
    ]
    # Another client, with nothing but the folder; and the proof has made no data.
    sent = run_module("device.publish", "--env", ENVIRONMENT, "--thing", old.thing_name)
    assert sent.returncode == 0, sent.stderr
    with connected(device.folder) as client:
        topic = names.topic(ENVIRONMENT, old.thing_name, CHANNEL)
        assert "Not authorized" not in client.publish(topic, b"")
    wait_until(lambda: len(lake.raw_lines(old.thing_name)) >= 2, "messages in the raw bucket")
    assert len(lake.raw_lines(old.thing_name)) == 2


def test_a_revoked_device_is_refused_and_listed_as_such(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    thing, certificate_id = device.device.thing_name, device.device.certificate_id
    done = run_module("ops.revoke", "--env", ENVIRONMENT, thing, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{certificate_id}\n"
    with pytest.raises(RefusedError), connected(device.folder):
        pass
    (entry,) = listed(run_module, thing)
    assert (entry["certificate_id"], entry["status"]) == (certificate_id, "REVOKED")
    assert entry["warnings"] == ["revoked, but attached"]


def test_revoke_with_delete_leaves_nothing_in_aws(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    thing = device.device.thing_name
    done = run_module("ops.revoke", "--env", ENVIRONMENT, thing, "--yes", "--delete")
    assert done.returncode == 0, done.stderr
    iot = lake.client("iot")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName=thing)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_certificate(certificateId=device.device.certificate_id)
    assert listed(run_module, thing) == []


def test_the_list_tells_a_thing_without_fault_from_a_shared_certificate(
    lake: Lake, make_device: Callable[[], Identity], run_module: RunModule
) -> None:
    sound, shared = make_device(), make_device()
    other = f"{shared.device.thing_name}-2"
    iot = lake.client("iot")
    iot.create_thing(thingName=other)
    iot.attach_thing_principal(thingName=other, principal=shared.device.certificate_arn)
    (entry,) = listed(run_module, sound.device.thing_name)
    assert (entry["status"], entry["age_days"], entry["warnings"]) == ("ACTIVE", 0, [])
    (entry,) = listed(run_module, shared.device.thing_name)
    assert entry["warnings"] == [f"shared with {other}"]


def listed(run_module: RunModule, thing: str) -> list[dict[str, Any]]:
    done = run_module("ops.list", "--env", ENVIRONMENT, "--format", "json")
    assert done.returncode == 0, done.stderr
    entries = map(json.loads, done.stdout.splitlines())
    return [entry for entry in entries if entry["thing_name"] == thing]


def test_a_table_of_things_is_provisioned_and_each_can_connect(
    lake: Lake, run_module: RunModule, tmp_path: Path
) -> None:
    things = [f"fleet-{secrets.token_hex(4)}" for _ in range(10)]
    path = tmp_path / "things.csv"
    path.write_text("\n".join(["thing_name", *things]))
    for _ in range(2):
        done = run_module("device.provision", "--env", ENVIRONMENT, "--from", str(path))
        assert done.returncode == 0, done.stderr
        folders = done.stdout.split()
        assert sorted(Path(folder).name for folder in folders) == sorted(things)
    for folder in folders:
        with connected(Path(folder)):
            pass
