"""device.simulate: every message of every device is counted once."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import contracts
from device import identity, simulate
from device.delivery import mqtt, simulation
from device.delivery.mqtt import PublishOutcome, PublishResult
from device.delivery.simulation import Simulation, SimulationReport, percentiles
from device.errors import ConnectionRefused, ExitStatus, Unreachable
from device.identity import Identity
from device.registry.registration import provision
from device.simulate import main, thing_names
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.fakes import FakeIot, environment

REFUSED = PublishResult(PublishOutcome.REFUSED, "not authorized (135)")


@pytest.fixture
def identities(tmp_path: Path) -> list[Identity]:
    made = environment(tmp_path, FakeIot())
    return [provision(made, thing, lambda _: None) for thing in thing_names(3)]


def run(
    identities: list[Identity],
    brokers: list[FakeConnection],
    progress: Callable[[SimulationReport], None] = lambda _: None,
    **options: float,
) -> SimulationReport:
    by_thing = dict(zip(thing_names(len(brokers)), brokers, strict=True))
    simulation = Simulation(
        contracts.load("telemetry"), lambda own: by_thing[own.device.thing_name], progress
    )
    return simulation.run(identities, **{"rate": 50.0, "seconds": 0.2, **options})


def fail(error: Exception) -> None:
    raise error


def test_each_device_publishes_its_own_readings_at_the_rate(identities: list[Identity]) -> None:
    brokers = [FakeConnection() for _ in identities]
    report = run(identities, brokers)
    assert [len(broker.sent) for broker in brokers] == [10, 10, 10]
    assert report.sent == report.acknowledged == 30
    assert report.devices == 3
    assert report.unknown == report.refused == report.failed == 0
    assert report.p50_ms is not None
    assert report.status() is ExitStatus.OK
    assert brokers[1].sent[0][0] == "$aws/rules/dev_telemetry/dt/dev/sim-0002/telemetry"
    values = [json.loads(broker.sent[3][1])["temperature"] for broker in brokers]
    assert len(set(values)) == 3
    assert all(broker.closed for broker in brokers)


def test_a_device_that_cannot_connect_is_counted_and_the_others_go_on(
    identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = [FakeConnection() for _ in identities]
    monkeypatch.setattr(brokers[0], "connect", lambda: fail(Unreachable("nothing answers")))
    report = run(identities, brokers)
    assert (report.devices, report.failed, report.acknowledged) == (2, 1, 20)
    assert report.reasons == {"failed: nothing answers": 1}
    assert report.status() is ExitStatus.UNREACHABLE


def test_a_device_that_is_disconnected_for_good_ends_alone(identities: list[Identity]) -> None:
    gone = ConnectionRefused("another client")
    brokers = [FakeConnection(mqtt.ACKNOWLEDGED, gone), FakeConnection(), FakeConnection()]
    report = run(identities, brokers)
    assert [len(broker.sent) for broker in brokers] == [1, 10, 10]
    assert report.status() is ExitStatus.CONNECTION_REFUSED


def test_a_silent_broker_does_not_hold_up_the_other_devices(
    identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "MAX_UNACKNOWLEDGED", 2)
    silent = FakeConnection(*[None] * 100)
    timer = threading.Timer(0.5, silent.answer_all, [REFUSED])
    timer.start()
    report = run(identities, [silent, FakeConnection(), FakeConnection()])
    timer.join()
    assert (report.acknowledged, report.refused, report.unknown) == (20, 2, 0)
    assert report.reasons == {"refused: not authorized (135)": 2}
    assert report.status() is ExitStatus.REFUSED


def test_ctrl_c_ends_it_with_the_report(
    identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "_INTERRUPTED_WAIT_SECONDS", 0.05)
    brokers = [FakeConnection(None), FakeConnection(), FakeConnection()]

    def interrupt(so_far: SimulationReport) -> None:
        if so_far.sent and not so_far.interrupted:
            raise KeyboardInterrupt

    report = run(identities, brokers, interrupt, seconds=60)
    assert report.interrupted
    assert report.unknown == 1
    assert report.sent == report.acknowledged + 1
    assert report.status() is ExitStatus.INTERRUPTED
    assert all(broker.closed for broker in brokers)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, None, None)),
        ([7.0], (7.0, 7.0, 7.0)),
        ([float(n) for n in range(100, 0, -1)], (50.0, 95.0, 99.0)),
    ],
)
def test_percentiles(values: list[float], expected: tuple[float | None, ...]) -> None:
    assert percentiles(values) == expected


def test_the_command_reports_in_json(
    identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder_of(_: str, thing: str) -> Path:
        return identities[0].folder.parent / thing

    monkeypatch.setattr(identity, "folder_of", folder_of)
    monkeypatch.setattr(mqtt, "Connection", lambda _: FakeConnection())
    arguments = ["--env", "dev", "--devices", "3", "--rate", "50", "--duration", "0.1"]
    result = CliRunner().invoke(main, [*arguments, "--format", "json"])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    assert report["acknowledged"] == report["sent"] == 15
    assert {"p50_ms", "p95_ms", "p99_ms", "refused", "unknown"} <= set(report)
    result = CliRunner().invoke(main, arguments)
    assert "3 devices: sent 15" in result.stdout
    assert "latency: p50" in result.stdout


@pytest.mark.parametrize(
    "option", [("--devices", "0"), ("--rate", "101"), ("--duration", "0"), ("--channel", "none")]
)
def test_bad_options_are_a_usage_error(option: tuple[str, str]) -> None:
    assert CliRunner().invoke(main, ["--env", "dev", *option]).exit_code == ExitStatus.USAGE


def test_what_is_missing_is_provisioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iot = FakeIot()
    made = environment(tmp_path, iot)
    provision(made, "sim-0002", lambda _: None)
    monkeypatch.setattr(
        identity,
        "folder_of",
        lambda env, thing, root=tmp_path: root / "certs" / env / thing,
    )
    monkeypatch.setattr("device.aws.session_for", lambda _: made)
    found = simulate.identities_of("dev", thing_names(3))
    assert [own.device.thing_name for own in found] == ["sim-0001", "sim-0002", "sim-0003"]
    assert len(iot.certificates) == 3
