"""device.publish --file: every line is published, or named with the reason."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from device.errors import ExitStatus
from device.readings import sources
from device.readings.sources import Source
from tests.unit.device.fake_broker import FakeConnection
from tests.unit.device.publish.publishing import (
    GOOD,
    REFUSED,
    sent_readings,
    summary,
)


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


def test_an_empty_file_sends_what_is_left_and_nothing_more(command: Callable[..., Result]) -> None:
    command("--count", "3", broker=FakeConnection(REFUSED))
    broker = FakeConnection()
    result = command("--file", "/dev/null", "--format", "json", broker=broker)
    assert (summary(result)["readings"], summary(result)["acknowledged"]) == (0, 3)


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
