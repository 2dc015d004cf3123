"""End to end on the local stack: one message is followed from the device to its rows."""

import gzip
import json
import subprocess
from collections.abc import Callable
from typing import Any

from device.errors import ExitStatus
from device.identity import Identity
from local.state import ENVIRONMENT
from tests.local.conftest import Lake, wait_for
from tests.local.paho_client import connected
from tests.local.test_pipeline import READING, encoded, topic_of

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def test_a_message_is_followed_by_its_thing_its_trace_id_and_its_place(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    thing = device.device.thing_name
    bad = {**READING, "temperature": "warm"}
    with connected(device.folder) as client:
        client.publish(topic_of(device), gzip.compress(encoded([READING, bad])))
    (row,) = wait_for(lambda: lake.rows(thing), 1, "row")
    wait_for(lambda: lake.rejected(thing), 1, "rejected reading")
    (envelope,) = lake.raw_lines(thing)

    def trace(*arguments: str, status: int = 0) -> dict[str, Any]:
        done = run_module("ops.trace", "--env", ENVIRONMENT, *arguments, "--format", "json")
        assert done.returncode == status, done.stderr
        return {hop["hop"]: hop for hop in json.loads(done.stdout)["hops"]} if not status else {}

    at = row["received_at"].isoformat()
    by_thing = trace("--thing", thing, "--at", at)
    by_trace_id = trace("--trace-id", envelope["trace_id"])
    place = ("--raw-key", row["raw_key"], "--raw-line", str(row["raw_line"]))
    assert by_thing == by_trace_id == trace(*place)
    message = by_thing["message"]["details"][0]
    for name in ("topic", "client_id", "certificate_id", "trace_id"):
        assert message[name] == envelope[name]
    assert message["readings"] == 2
    (parsed,) = by_thing["parsed"]["details"]
    assert (parsed["temperature"], parsed["reading_index"]) == (21.5, 0)
    (rejected,) = by_thing["rejected"]["details"]
    assert (rejected["path"], rejected["reading_index"]) == ("$.temperature", 1)
    assert by_thing["log"]["what"] == "parsed"
    assert 0 <= by_thing["raw"]["seconds"] < 60
    trace("--trace-id", "no-such-message", status=ExitStatus.NOT_FOUND)
