"""device.publish: every message is counted once, and the exit status reports the result."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from device import identity
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.delivery.spool import Spool
from device.errors import ConnectionRefused, ExitStatus, Unreachable
from device.publish import main
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.publish.publishing import (
    GOOD,
    REFUSED,
    UNKNOWN,
    fail,
    sent_readings,
    summary,
    unpacked,
)


def test_publishes_one_simulated_reading_to_basic_ingest(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    result = command(broker=broker)
    assert result.exit_code == ExitStatus.OK
    assert result.stdout.splitlines() == [
        "published 1: 1 acknowledged, 0 refused, 0 unknown",
        "1 message, 1 metering unit; a million such readings: $0.4383, "
        "each as a message of its own: $0.4383",
    ]
    ((topic, payload),) = broker.sent
    assert topic == "$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry"
    assert unpacked(payload)[0]["status"] in {"ok", "low_battery", "fault"}
    assert broker.closed


def test_broker_means_the_plain_topic(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    command("--no-basic-ingest", broker=broker)
    assert broker.sent[0][0] == "dt/dev/sensor-1/telemetry"


def test_another_topic_on_request(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    command("--topic", "dt/dev/other/telemetry", broker=broker)
    assert broker.sent[0][0] == "dt/dev/other/telemetry"


@pytest.mark.parametrize(
    ("answers", "counts", "status"),
    [
        pytest.param([], (3, 0, 0), ExitStatus.OK, id="acknowledged"),
        pytest.param([ACKNOWLEDGED, REFUSED], (2, 1, 0), ExitStatus.REFUSED, id="refused"),
        pytest.param([UNKNOWN, REFUSED], (2, 1, 0), ExitStatus.REFUSED, id="sent again"),
    ],
)
def test_counts_what_became_of_the_messages(
    command: Callable[..., Result],
    answers: list[PublishResult],
    counts: tuple[int, int, int],
    status: ExitStatus,
) -> None:
    broker = FakeConnection(*answers)
    result = command("--count", "3", "--no-pack", "--format", "json", broker=broker)
    told = summary(result)
    names = ("acknowledged", "refused", "unknown")
    assert tuple(told[name] for name in names) == counts
    assert told["published"] == told["readings"] == 3
    assert told["messages"] == told["units"] == counts[0]
    assert result.exit_code == status
    assert all(answer.reason in result.stderr for answer in answers)


def test_the_same_seed_publishes_the_same_values(command: Callable[..., Result]) -> None:
    values = []
    for _ in range(2):
        broker = FakeConnection()
        command("--seed", "7", "--count", "3", broker=broker)
        values.append([reading["temperature"] for reading in sent_readings(broker)])
    assert values[0] == values[1]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--message", "{}", "--file", "-"), id="two inputs"),
        pytest.param(("--message", "{}", "--count", "2"), id="count of messages"),
        pytest.param(("--channel", "nonesuch"), id="unknown channel"),
        pytest.param(("--count", "0"), id="nothing"),
        pytest.param(("--rate", "0"), id="never"),
        pytest.param(("--rate", "nan"), id="no rate"),
        pytest.param(("--max-linger", "nan"), id="no duration"),
        pytest.param(("--file", "/nonexistent"), id="no such file"),
        pytest.param(("--topic", "dt/+/x"), id="wildcard"),
        pytest.param(("--topic", "é" * 129), id="long topic"),
        pytest.param(("--env", "dev"), id="two identities"),
    ],
)
def test_bad_options_are_a_usage_error_before_connecting(
    command: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    broker = FakeConnection()
    result = command(*arguments, broker=broker, stdin=b"")
    assert result.exit_code == ExitStatus.USAGE
    assert broker.sent == []
    assert result.stdout == ""


def test_a_missing_identity_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--identity", str(tmp_path / "none")])
    assert result.exit_code == ExitStatus.IDENTITY
    assert result.stderr.startswith("error: expected an identity in")
    assert result.stderr.count("\n") == 1


def test_env_and_thing_name_the_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: list[tuple[str, str]] = []

    def folder_of(environment_: str, thing_name: str) -> Path:
        asked.append((environment_, thing_name))
        return folder

    monkeypatch.setattr(identity, "folder_of", folder_of)
    monkeypatch.setattr(mqtt, "Connection", lambda _: FakeConnection())
    assert CliRunner().invoke(main, ["--env", "dev", "--thing", "sensor-1"]).exit_code == 0
    assert asked == [("dev", "sensor-1")]


def test_a_broker_that_says_no_ends_it_before_anything_is_taken(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ConnectionRefused("the broker refused")
    broker = FakeConnection()
    monkeypatch.setattr(broker, "connect", lambda: fail(failure))
    result = command(broker=broker)
    assert result.exit_code == ExitStatus.CONNECTION_REFUSED
    assert result.stderr == "error: the broker refused\n"


def test_a_broker_that_cannot_be_reached_does_not_stop_the_taking(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = FakeConnection()
    monkeypatch.setattr(away, "connect", lambda: fail(Unreachable("nothing answers")))
    result = command("--count", "3", "--format", "json", broker=away)
    assert result.exit_code == ExitStatus.UNREACHABLE
    assert result.stderr.splitlines() == [
        "error: nothing answers",
        "3 readings in the spool; the next run sends them",
    ]
    assert summary(result)["spooled"] == summary(result)["readings"] == 3
    broker = FakeConnection()
    result = command("--format", "json", broker=broker)
    assert result.stderr == "sending 3 readings of an earlier run too\n"
    told = summary(result)
    assert (told["earlier"], told["readings"], told["acknowledged"]) == (3, 1, 4)
    assert [reading["sequence"] for reading in sent_readings(broker)] == [0, 1, 2, 0]


def test_a_connection_that_is_gone_for_good_ends_it_and_still_sums_up(
    command: Callable[..., Result],
) -> None:
    gone = ConnectionRefused("another client has connected with this client id")
    broker = FakeConnection(ACKNOWLEDGED, None, gone)
    result = command("--count", "9", "--no-pack", "--format", "json", broker=broker)
    assert result.exit_code == ExitStatus.CONNECTION_REFUSED
    told = summary(result)
    assert (told["published"], told["acknowledged"], told["unknown"]) == (2, 1, 1)
    assert told["spooled"] == told["readings"] - 1
    assert "error: another client" in result.stderr


def test_refused_readings_stay_for_the_next_run(command: Callable[..., Result]) -> None:
    refusing = FakeConnection(REFUSED)
    result = command("--count", "5", broker=refusing)
    assert result.exit_code == ExitStatus.REFUSED
    assert "5 refused: not authorized (135)" in result.stderr
    assert "5 readings in the spool; the next run sends them" in result.stderr
    broker = FakeConnection()
    assert command(broker=broker).exit_code == ExitStatus.OK
    assert refusing.sent[0] in broker.sent  # not first: it cannot hold up the others


def test_a_trial_of_another_topic_leaves_nothing_behind(command: Callable[..., Result]) -> None:
    result = command("--topic", "dt/dev/other/telemetry", broker=FakeConnection(REFUSED))
    assert result.exit_code == ExitStatus.REFUSED
    assert "spool" not in result.stderr
    broker = FakeConnection()
    command(broker=broker)
    assert len(broker.sent) == 1


def test_many_readings_are_few_messages(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    result = command("--count", "1000", "--seed", "1", "--format", "json", broker=broker)
    told = summary(result)
    assert told["acknowledged"] == 1000
    assert told["messages"] == told["units"] == len(broker.sent) < 6
    assert told["cost_usd"] * 150 < told["cost_unpacked_usd"]


def test_an_array_is_a_message_as_it_is(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    array = f"[{GOOD}, {GOOD}]"
    command("--message", array, broker=broker)
    assert broker.sent[0][1] == array.encode()


def test_a_spool_in_use_is_one_line(command: Callable[..., Result], folder: Path) -> None:
    command(broker=FakeConnection())
    held = Spool(folder / "spool" / "spool.db", max_bytes=1 << 24)
    result = command(broker=FakeConnection())
    held.close()
    assert result.exit_code == ExitStatus.SPOOL
    assert result.stderr.startswith("error: the spool ")
    assert "in use by another process" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_terminal_no_bar(command: Callable[..., Result]) -> None:
    assert command("--count", "50", broker=FakeConnection()).stderr == ""


def test_the_private_key_is_told_to_nobody(
    command: Callable[..., Result], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = (folder / "private.key").read_text().splitlines()[1:3]
    results = [
        command(broker=FakeConnection(REFUSED)),
        command("--message", "x", "--format", "json", broker=FakeConnection()),
    ]
    (folder / "ca.pem").unlink()
    results.append(command(broker=FakeConnection()))
    told = "".join(result.output for result in results) + caplog.text
    assert not any(line in told for line in secret)
    assert "PRIVATE KEY" not in told


def test_needs_neither_boto3_nor_the_code_that_uses_it() -> None:
    code = (
        "import sys, device.publish, device.simulate; "
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'boto3', 'botocore'}), "
        "*[name for name in ('device.aws', 'device.provision') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=identity.PROJECT_ROOT,
    )
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("module", ["device.provision", "device.publish", "device.simulate"])
def test_every_command_explains_itself(module: str) -> None:
    found = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=identity.PROJECT_ROOT,
    )
    assert found.stdout.startswith(f"Usage: python -m {module}")
