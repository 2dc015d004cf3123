"""Publishing, end to end: what a publisher took is in the lake, whatever became of it."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import contracts
import device as device_package
from device.errors import ConnectionRefused, ExitStatus
from device.identity import Identity
from local.state import ENVIRONMENT, ROOT
from tests.local import proxy
from tests.local.conftest import Lake, wait_until
from tests.local.paho_client import connected

RunModule = Callable[..., subprocess.CompletedProcess[str]]

_KILLS = 20
_SEED = 4

# Takes numbered readings until it is killed, and says which it has taken.
_PUBLISHER = """
import sys, time, device
folder, number = sys.argv[1], int(sys.argv[2])
with device.open(folder, max_linger_seconds=0.2) as sink:
    while True:
        sink.put({"timestamp": 1_790_000_000_000 + number, "temperature": 20.0, "humidity": 40,
                  "battery": 99, "status": "ok", "sequence": number})
        print(number, flush=True)
        number += 1
        time.sleep(0.003)
"""


def reading(number: int) -> dict[str, Any]:
    return {
        "timestamp": 1_790_000_000_000 + number,
        "temperature": 20.0,
        "humidity": 40,
        "battery": 99,
        "status": "ok",
        "sequence": number,
    }


def values_by_sequence(lake: Lake, device: Identity) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for row in lake.rows(device.device.thing_name):
        values = {field.column: row[field.column] for field in contracts.load("telemetry").fields}
        found.setdefault(row["sequence"], set()).add(repr(values))
    return found


def assert_all_arrive_once_or_alike(lake: Lake, device: Identity, taken: set[int]) -> None:
    wait_until(
        lambda: taken <= set(values_by_sequence(lake, device)), f"all of {len(taken)} readings"
    )
    found = values_by_sequence(lake, device)
    assert {number: values for number, values in found.items() if len(values) > 1} == {}


def test_a_publisher_killed_twenty_times_loses_nothing(
    lake: Lake, device: Identity, run_module: RunModule, tmp_path: Path
) -> None:
    chance = random.Random(_SEED)  # noqa: S311  # repeatable
    taken: set[int] = set()
    for run in range(_KILLS):
        # What was taken but not reported has a number of its own, too.
        first = (run + 1) * 100_000
        reported = tmp_path / f"{run}.txt"
        with reported.open("wb") as output:
            publisher = subprocess.Popen(
                [sys.executable, "-c", _PUBLISHER, str(device.folder), str(first)],
                cwd=ROOT,
                stdout=output,
            )
            wait_until(lambda file=reported: file.stat().st_size, "the first reading")  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 1.0))
            assert publisher.poll() is None
            publisher.kill()
            publisher.wait()
        taken |= {
            int(line) for line in reported.read_text().splitlines(keepends=True) if "\n" in line
        }
    assert len(taken) > 1000
    last = run_module(
        *("device.publish", "--env", ENVIRONMENT, "--thing", device.device.thing_name),
        *("--format", "json"),
    )
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["spooled"] == 0
    assert_all_arrive_once_or_alike(lake, device, taken)


@pytest.fixture
def network(device: Identity) -> Iterator[proxy.Proxy]:
    with proxy.between(device.device.port) as made:
        yield made


def behind(network: proxy.Proxy, device: Identity) -> Identity:
    return Identity(device.folder, replace(device.device, port=network.port))


def test_a_broker_that_vanishes_and_swallows_answers_costs_no_reading(
    lake: Lake, device: Identity, network: proxy.Proxy
) -> None:
    numbers = iter(range(10_000))

    def take(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sink.put(reading(next(numbers)))
            time.sleep(0.005)

    with device_package.open(behind(network, device), max_linger_seconds=0.1) as sink:
        assert sink.wait_for_connection(15)
        for fail in (network.cut, network.vanish, network.swallow_answers, network.cut):
            take(0.7)
            fail()
            take(1.5)
            network.come_back()
            answered = sink.totals().acknowledged
            wait_until(lambda last=answered: sink.totals().acknowledged > last, "an answer")  # type: ignore[misc]
        take(0.3)
        assert sink.flush(60)
        totals = sink.totals()
    assert totals.acknowledged == totals.taken == totals.published == next(numbers)
    assert_all_arrive_once_or_alike(lake, device, set(range(totals.taken)))
    # Some did arrive twice, or this has tested nothing.
    assert len(lake.rows(device.device.thing_name)) > totals.taken


def test_an_outage_from_start_to_end_is_made_good_by_the_next_run(
    lake: Lake, device: Identity, network: proxy.Proxy
) -> None:
    network.vanish()
    sink = device_package.open(behind(network, device))
    for number in range(100):
        sink.put(reading(number))
    sink.close(0)
    with device_package.open(device) as sink:
        assert sink.totals().earlier == 100
    assert_all_arrive_once_or_alike(lake, device, set(range(100)))


def test_another_client_with_the_same_id_is_explained_and_not_fought(
    lake: Lake, device: Identity
) -> None:
    sink = device_package.open(device, max_linger_seconds=0.0)
    assert sink.wait_for_connection(15)
    with connected(device.folder):
        wait_until(lambda: sink.failure, "the end of the first client's connection")
        sink.put(reading(7))
        time.sleep(1.5)  # it would be back by now
        with pytest.raises(ConnectionRefused, match="another client has connected"):
            sink.close()
    with device_package.open(device):
        pass
    assert_all_arrive_once_or_alike(lake, device, {7})


def test_a_deactivated_certificate_keeps_the_readings_until_it_is_active_again(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    iot = lake.client("iot")
    certificate_id = device.device.certificate_id
    sink = device_package.open(device)
    assert sink.wait_for_connection(15)
    sink.close()
    iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
    sink = device_package.open(device)
    sink.put(reading(1))
    wait_until(lambda: sink.failure, "the broker's no")
    with pytest.raises(ConnectionRefused):
        sink.close()
    iot.update_certificate(certificateId=certificate_id, newStatus="ACTIVE")
    done = run_module(
        *("device.publish", "--env", ENVIRONMENT, "--thing", device.device.thing_name),
        *("--format", "json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["earlier"] == 1
    assert_all_arrive_once_or_alike(lake, device, {1})


def test_a_message_over_which_the_broker_hangs_up_is_refused_and_blocks_nothing(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    publish = ("device.publish", "--env", ENVIRONMENT, "--thing", device.device.thing_name)
    poison = "[" * 20_000  # deeper than the emulator's JSON parser goes
    lines = [json.dumps(reading(number)) for number in range(10)]
    done = run_module(
        *(*publish, "--no-check", "--no-pack", "--file", "-", "--format", "json"),
        input="\n".join([poison, *lines[:5], poison, *lines[5:], ""]),
    )
    assert done.returncode == ExitStatus.REFUSED, done.stderr
    told = json.loads(done.stdout)
    assert (told["acknowledged"], told["refused"], told["spooled"]) == (10, 2, 2)
    assert "2 readings in the spool" in done.stderr
    assert_all_arrive_once_or_alike(lake, device, set(range(10)))
    # The next run sends what is new, tries these once more and says what is still there, as doctor.
    done = run_module(*publish, "--message", json.dumps(reading(10)))
    assert done.returncode == ExitStatus.REFUSED, done.stderr
    assert "2 readings in the spool" in done.stderr
    checked = run_module("ops.doctor", "--env", ENVIRONMENT, device.device.thing_name)
    assert "spool · readings: 2 readings of an earlier run are still here, 2 of" in checked.stdout
    assert checked.returncode == ExitStatus.SPOOL
    assert_all_arrive_once_or_alike(lake, device, set(range(11)))
