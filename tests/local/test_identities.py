"""The life of an identity after provisioning, on the local stack."""

import subprocess
from collections.abc import Callable

import pytest

from contracts import names
from device import identity
from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_until
from tests.local.paho_client import connected

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
