"""device.publish: every message is counted once, and the exit status tells."""

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import contracts
from device import identity
from device.delivery import mqtt
from device.delivery.mqtt import ACKNOWLEDGED, Outcome, PublishResult
from device.delivery.publisher import Publisher, PublishingReport
from device.delivery.sink import Sink
from device.delivery.spool import Additions, Spool
from device.errors import ConnectionRefused, ExitStatus, SpoolError, SpoolFull, Unreachable
from device.publish import main
from device.readings import sources
from device.readings.check import ReadingCheck
from device.readings.sources import Payload, Source, Unusable
from device.registry.registration import provision
from tests.unit.device.fakes import FakeConnection, FakeIot, environment

REFUSED = PublishResult(Outcome.REFUSED, "not authorized (135)")
UNKNOWN = PublishResult(Outcome.UNKNOWN, "no answer within 20 s")
GOOD = json.dumps(
    {"timestamp": 1_790_000_000_123, "temperature": 1, "humidity": 1, "battery": 1, "status": "ok"}
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return provision(environment(tmp_path, FakeIot()), "sensor-1", lambda _: None).folder


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command with a broker that answers as told."""

    def run(*arguments: str, broker: FakeConnection, stdin: bytes | None = None) -> Result:
        monkeypatch.setattr(mqtt, "Connection", lambda _: broker)
        options = ["--identity", str(folder), *arguments]
        return CliRunner().invoke(main, options, input=stdin)

    return run


def summary(result: Result) -> dict[str, int]:
    (line,) = result.stdout.splitlines()
    counts: dict[str, int] = json.loads(line)
    return counts


def payloads(count: int) -> Source:
    return (Payload(number, b"%d" % number) for number in range(1, count + 1))


def publisher(
    broker: FakeConnection,
    spool: Spool | None = None,
    check: ReadingCheck | None = None,
    **options: Any,
) -> Publisher:
    taking = Sink(
        spool or Spool(None, max_bytes=1 << 24),
        "a/topic",
        lambda: broker,
        check=check,
        pack=False,
        max_linger_seconds=10.0,
        when_full="refuse",
    )
    return Publisher(taking, **{"progress": lambda _: None, "say": lambda _: None, **options})


def sent_readings(broker: FakeConnection) -> list[Any]:
    return [reading for _, payload in broker.sent for reading in unpacked(payload)]


def unpacked(payload: bytes) -> list[Any]:
    value = json.loads(gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload)
    return value if isinstance(value, list) else [value]


def test_publishes_one_simulated_reading_to_basic_ingest(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    result = command(broker=broker)
    assert result.exit_code == ExitStatus.OK
    assert result.stdout.splitlines() == [
        "published 1: 1 acknowledged, 0 refused, 0 unknown",
        "1 message, 1 metering unit; a million such readings: $0.4450, "
        "each as a message of its own: $0.4450",
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


def test_reports_what_does_not_fit_and_publishes_the_rest(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    lines = f'{GOOD}\n{{"timestamp": 1.0}}\nnot json\n{GOOD}\n'.encode()
    result = command("--file", "-", "--format", "json", broker=broker, stdin=lines)
    assert result.exit_code == ExitStatus.INVALID
    assert summary(result)["published"] == summary(result)["acknowledged"] == 2
    assert summary(result)["invalid"] == 2
    assert sent_readings(broker) == [json.loads(GOOD)] * 2
    assert "line 2: $.timestamp" in result.stderr
    assert "line 3: $: expected JSON" in result.stderr


def test_checking_keeps_the_order_and_the_bytes_and_names_what_does_not_fit() -> None:
    def source() -> Source:
        yield Payload(1, b" " + GOOD.encode())
        yield Unusable(2, "too long")
        yield Payload(3, b"{}")
        yield Payload(4, GOOD.encode())

    broker, lines = FakeConnection(), list[str]()
    check = ReadingCheck(contracts.load("telemetry"))
    result = publisher(broker, check=check, say=lines.append).publish(source())
    assert [payload for _, payload in broker.sent] == [b" " + GOOD.encode(), GOOD.encode()]
    assert lines == [
        "reading 2: too long",
        "reading 3: $.timestamp: required field is missing",
    ]
    assert result.invalid == 2


def test_publishes_anything_verbatim_without_the_check(command: Callable[..., Result]) -> None:
    broker = FakeConnection()
    lines = b'{"a":  1}\r\n\x1f\x8b\xff\n'
    command("--no-check", "--file", "-", broker=broker, stdin=lines)
    command("--no-check", "--message", " x ", "--message", "{}", broker=broker)
    assert [payload for _, payload in broker.sent] == [
        b'{"a":  1}\r',
        b"\x1f\x8b\xff",
        b" x ",
        b"{}",
    ]


def test_a_file_named_csv_is_csv(command: Callable[..., Result], tmp_path: Path) -> None:
    broker = FakeConnection()
    path = tmp_path / "readings.csv"
    path.write_text(
        "timestamp,temperature,humidity,battery,status\n1790000000123,2,3,4,ok\n1790000000123,2,3,4,bad\n"
    )
    result = command("--file", str(path), broker=broker)
    assert result.exit_code == ExitStatus.INVALID
    assert sent_readings(broker)[0]["humidity"] == 3
    assert "line 3: $.status" in result.stderr
    as_stdin = ("--file", "-", "--file-format", "csv")
    assert (
        command(*as_stdin, broker=broker, stdin=path.read_bytes()).exit_code == ExitStatus.INVALID
    )


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


def fail(error: Exception) -> None:
    raise error


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


def test_an_empty_file_sends_what_is_left_and_nothing_more(command: Callable[..., Result]) -> None:
    command("--count", "3", broker=FakeConnection(REFUSED))
    broker = FakeConnection()
    result = command("--file", "/dev/null", "--format", "json", broker=broker)
    assert (summary(result)["readings"], summary(result)["acknowledged"]) == (0, 3)


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


def test_the_number_of_messages_without_an_answer_is_bounded() -> None:
    broker = FakeConnection(*[None] * 1000)
    answering = threading.Event()

    def answer() -> None:
        while not answering.wait(0.005):
            broker.answer_all(ACKNOWLEDGED)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        result = publisher(broker).publish(payloads(1000))
    finally:
        answering.set()
        thread.join()
    assert result.totals.acknowledged == result.totals.published == 1000
    assert broker.most_pending <= mqtt.MAX_UNACKNOWLEDGED


def test_a_full_spool_is_waited_for() -> None:
    broker = FakeConnection(*[None] * 1000)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        threading.Timer(0.1, answering.start).start()

    def answer() -> None:
        while not answered.wait(0.01):
            broker.answer_all(ACKNOWLEDGED)

    answered, answering = threading.Event(), threading.Thread(target=answer)
    source = (Payload(number, b"x" * 100_000) for number in range(1, 201))  # the spool has 16 MB
    result = publisher(broker, say=say).publish(source)
    answered.set()
    answering.join()
    assert result.totals.acknowledged == 200
    assert lines == ["the spool is full; waiting for the broker"]


def test_a_full_disk_is_waited_for_like_a_full_spool_as_answers_make_room() -> None:
    class OnAFullDisk(Spool):
        def add(self, additions: Additions) -> None:
            if self.count().waiting >= 10:
                raise SpoolFull("no room on the disk")
            super().add(additions)

    publishing = publisher(FakeConnection(), OnAFullDisk(None, max_bytes=1 << 24))
    result = publishing.publish(payloads(200))
    assert result.status() is ExitStatus.OK
    assert result.totals.acknowledged == result.totals.taken == 200


def test_a_full_disk_is_not_waited_for_when_nothing_is_left_that_could_make_room() -> None:
    class OnAFullDisk(Spool):
        def add(self, additions: Additions) -> None:
            raise SpoolFull(f"no room on the disk for {additions.size_bytes} bytes")

    publishing = publisher(FakeConnection(), OnAFullDisk(None, max_bytes=1 << 24))

    def slowly() -> Source:
        for number in range(1, 101):
            yield Payload(number, b"x")
            time.sleep(0.01)  # it is found full while readings still come

    result = publishing.publish(slowly())
    assert result.status() is ExitStatus.SPOOL
    assert isinstance(result.failure, SpoolFull)
    assert (result.totals.taken, result.totals.published) == (0, 0)
    assert not result.complete


def test_keeps_to_the_rate() -> None:
    started = time.monotonic()
    publisher(FakeConnection(), rate=50).publish(payloads(11))
    assert time.monotonic() - started >= 0.2


def test_ctrl_c_waits_for_answers_on_their_way_and_tells_what_was_sent(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeConnection(ACKNOWLEDGED, None)

    def interrupted(*_: object, **__: object) -> Iterator[Payload | Unusable]:
        yield from payloads(2)
        threading.Timer(0.05, broker.answer_all, [REFUSED]).start()
        raise KeyboardInterrupt

    monkeypatch.setattr("device.readings.sources.from_simulator", interrupted)
    result = command("--no-check", "--format", "json", broker=broker)
    assert result.exit_code == ExitStatus.INTERRUPTED
    assert summary(result)["published"] == 2
    assert summary(result)["refused"] == 1
    assert "interrupted; the rest was not published" in result.stderr
    assert broker.closed


def test_a_second_ctrl_c_does_not_wait() -> None:
    def interrupt_again(so_far: PublishingReport) -> None:
        if so_far.totals.unknown:
            raise KeyboardInterrupt

    told = publisher(FakeConnection(None), progress=interrupt_again)
    started = time.monotonic()
    result = told.publish(payloads(1))
    assert time.monotonic() - started < 2
    assert result.interrupted
    assert (result.totals.published, result.totals.unknown) == (1, 1)


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


HEADER = "timestamp,temperature,humidity,battery,status"
ROW = "1790000000123,1,1,1,ok"


def test_a_csv_file_is_known_by_its_name_whatever_its_case(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    broker = FakeConnection()
    path = tmp_path / "LOG.CSV.GZ"
    path.write_bytes(gzip.compress(f"{HEADER}\n{ROW}\n".replace(",", ";").encode("utf-16")))
    result = command("--file", str(path), "--format", "json", broker=broker)
    assert summary(result)["acknowledged"] == 1, result.stderr


def test_columns_are_mapped_and_times_read_in_a_zone(
    command: Callable[..., Result], tmp_path: Path
) -> None:
    broker = FakeConnection()
    path = tmp_path / "log.tsv"
    path.write_text("when\ttemp\thumidity\tbattery\tstatus\n2026-07-01 12:00\t1\t1\t1\tok\n")
    command(
        *("--file", str(path), "--map", "when=timestamp", "--map", "temp=temperature"),
        *("--time-zone", "Europe/Berlin"),
        broker=broker,
    )
    ((reading,),) = [sent_readings(broker)]
    assert (reading["timestamp"], reading["temperature"]) == (1_782_900_000_000, 1)


@pytest.mark.parametrize(
    "options",
    [
        ("--delimiter", ";;"),
        ("--map", "when"),
        ("--map", "when=nope"),
        ("--time-zone", "Middle/Earth"),
        ("--file-format", "ndjson", "--delimiter", ";"),
    ],
)
def test_an_option_that_does_not_fit_the_file_is_one_line(
    command: Callable[..., Result], tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{HEADER}\n{ROW}\n")
    result = command("--file", str(path), *options, broker=FakeConnection())
    assert result.exit_code == ExitStatus.USAGE
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_file_can_be_gone_on_with_after_an_interruption(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "log.ndjson"
    path.write_text(f"{GOOD}\n" * 5)
    from_ndjson = sources.from_ndjson

    def interrupted(file: Any, *, verbatim: bool) -> Source:
        for item in from_ndjson(file, verbatim=verbatim):
            if item.number == 3:
                raise KeyboardInterrupt
            yield item

    broker = FakeConnection()
    with monkeypatch.context() as patched:
        patched.setattr(sources, "from_ndjson", interrupted)
        result = command("--file", str(path), broker=broker)
    assert result.exit_code == ExitStatus.INTERRUPTED
    assert "stopped after line 2; --from-line 3 publishes the rest" in result.stderr
    command("--file", str(path), "--from-line", "3", broker=broker)
    assert len(sent_readings(broker)) == 5


def test_a_first_line_after_the_end_of_the_file_is_said(command: Callable[..., Result]) -> None:
    options = ("--file", "-", "--from-line", "9")
    result = command(*options, broker=FakeConnection(), stdin=f"{GOOD}\n{GOOD}\n".encode())
    assert result.exit_code == ExitStatus.OK
    assert "--from-line is 9, but the last reading of the file is on line 2" in result.stderr


def test_an_empty_file_is_said_and_no_error(command: Callable[..., Result]) -> None:
    result = command("--file", "-", broker=FakeConnection(), stdin=b"\n\n")
    assert result.exit_code == ExitStatus.OK
    assert "nothing to publish" in result.stderr


def test_unknown_fields_are_told_once_and_counted(command: Callable[..., Result]) -> None:
    line = json.dumps({**json.loads(GOOD), "wind": 1})
    stdin = f"{line}\n".encode() * 3
    result = command("--file", "-", "--format", "json", broker=FakeConnection(), stdin=stdin)
    assert json.loads(result.stdout)["unknown_fields"] == {"wind": 3}
    assert result.stderr.count('no field "wind"') == 1


def test_thousands_of_lines_with_one_fault_take_a_few_lines(command: Callable[..., Result]) -> None:
    stdin = b'{"timestamp": "soon"}\n' * 7267
    result = command("--file", "-", broker=FakeConnection(), stdin=stdin)
    assert result.exit_code == ExitStatus.INVALID
    assert len(result.stderr.splitlines()) < 10
    assert "7,267  $.timestamp: expected integer" in result.stderr


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(b'{"timestamp":17900', id="in a value that is too small"),
        pytest.param(b'{"temperature":true,', id="after a value of the wrong type"),
        pytest.param(b"[1,", id="array"),
        pytest.param(b'{"timestamp":5}x', id="text after it"),
    ],
)
def test_a_line_that_is_cut_short_costs_itself_only(
    command: Callable[..., Result], cut: bytes
) -> None:
    lines = b"\n".join([GOOD.encode(), cut, GOOD.encode()])
    result = command("--file", "-", "--format", "json", broker=FakeConnection(), stdin=lines)
    assert result.exit_code == ExitStatus.INVALID
    assert "line 2: $: expected JSON" in result.stderr
    assert (summary(result)["published"], summary(result)["invalid"]) == (2, 1)


def test_a_header_that_never_ends_is_one_line(command: Callable[..., Result]) -> None:
    endless = ("--file", "-", "--file-format", "csv")
    result = command(*endless, broker=FakeConnection(), stdin=b"x" * (1 << 21))
    assert result.exit_code == ExitStatus.USAGE
    assert "expected a CSV header" in result.stderr


def test_a_spool_that_fails_leaves_no_line_before_the_one_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = Spool(None, max_bytes=1 << 24)
    add, calls = spool.add, iter(range(1_000_000))

    def failing_add(*arguments: Any) -> None:
        if next(calls) >= 3:
            raise SpoolError("cannot write the spool")
        add(*arguments)

    monkeypatch.setattr(spool, "add", failing_add)
    taking = Sink(
        spool,
        "a/topic",
        FakeConnection,
        check=None,
        pack=False,
        max_linger_seconds=10.0,
        when_full="refuse",
    )
    source = (Payload(number, b"%d" % number) for number in range(1, 100_001))
    result = Publisher(taking, progress=lambda _: None, say=lambda _: None).publish(source)
    assert result.failure is not None
    assert result.reached == result.totals.taken
