"""device.simulate on the local stack."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable

from device.simulate import thing_names
from local.state import ENVIRONMENT, ROOT
from tests.local.conftest import Lake, wait_until

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def rows(lake: Lake) -> int:
    return sum(len(lake.rows(thing)) for thing in thing_names(4))


def test_what_simulated_devices_publish_arrives(lake: Lake, run_module: RunModule) -> None:
    before = rows(lake)
    arguments = ("--devices", "4", "--rate", "10", "--duration", "2", "--format", "json")
    done = run_module("device.simulate", "--env", ENVIRONMENT, *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["devices"] == 4
    assert report["acknowledged"] == report["sent"] == 80
    assert 0 < report["p50_ms"] <= report["p95_ms"] <= report["p99_ms"]
    wait_until(lambda: rows(lake) == before + 80, "80 rows more")


def test_ctrl_c_ends_it_with_the_report(lake: Lake) -> None:
    before = rows(lake)
    arguments = ("--devices", "2", "--rate", "20", "--duration", "60", "--format", "json")
    process = subprocess.Popen(
        [sys.executable, "-m", "device.simulate", "--env", ENVIRONMENT, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: rows(lake) > before, "the first rows")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    report = json.loads(output)
    assert report["sent"] == report["acknowledged"] > 0
    assert "interrupted" in errors
    assert "Traceback" not in errors
