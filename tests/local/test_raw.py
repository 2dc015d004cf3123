"""End to end on the local stack: an operator reads what devices sent."""

import gzip
import json
import subprocess
from collections.abc import Callable

from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import Lake, wait_for
from tests.local.paho_client import connected
from tests.local.test_pipeline import READING, encoded, topic_of

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def test_an_operator_reads_every_message_of_a_thing(
    lake: Lake, device: Identity, make_device: Callable[[], Identity], run_module: RunModule
) -> None:
    with connected(device.folder) as client:
        client.publish(topic_of(device), gzip.compress(encoded([READING])))
        client.publish(topic_of(device), b"\x1b[2J not json")
    other = make_device()
    with connected(other.folder) as client:
        client.publish(topic_of(other), encoded(READING))
    things = [each.device.thing_name for each in (device, other)]
    wait_for(lambda: lake.raw_lines(things[0]), 2, "messages")
    wait_for(lambda: lake.raw_lines(things[1]), 1, "message of another thing")
    done = run_module("ops.raw", "--env", ENVIRONMENT, "--thing", things[0], "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    found = [one for one in map(json.loads, done.stdout.splitlines()) if "thing_name" in one]
    assert {one["thing_name"] for one in found} == {things[0]}
    assert [one.get("payload", one.get("text")) for one in found] == [
        [READING],
        "\x1b[2J not json",
    ]
    assert "of" in done.stderr.splitlines()[-1]
