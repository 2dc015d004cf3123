"""What every command does the same way, run as real processes."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import contracts
from device import cli, streams
from device.errors import DeviceError, ExitStatus

ROOT = Path(__file__).resolve().parents[3]

# A command that reports ten lines on each stream and then does something that can be seen.
_WORK = """
import sys, click
from pathlib import Path
from device import cli
@click.command(cls=cli.Command)
@click.argument("done")
def main(done):
    for number in range(10):
        cli.say(f"step {number} \N{CHECK MARK}")
        cli.echo_json({"text": "caf\N{LATIN SMALL LETTER E WITH ACUTE}"})
    click.secho("red", fg="red", color=None)
    Path(done).write_text("done")
main()
"""


def start(*arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_stop_the_work(stream: str, tmp_path: Path) -> None:
    process = start("-c", _WORK, str(tmp_path / "done"))
    getattr(process, stream).close()
    other = process.stderr if stream == "stdout" else process.stdout
    assert other is not None
    assert b"Traceback" not in other.read()
    other.close()
    assert process.wait(30) == 0
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_stop_the_work(closed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WORK, str(tmp_path / "done")]
    done = subprocess.run(
        ["sh", "-c", f"exec {shlex.join(command)} {closed}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
@pytest.mark.parametrize("arguments", [["{}"], ["--help"]])
def test_a_full_disk_under_stdout_is_one_line_and_a_status_after_the_work(
    arguments: list[str], tmp_path: Path
) -> None:
    done = tmp_path / "done"
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", _WORK, *(argument.format(done) for argument in arguments)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == ExitStatus.FILE
    assert ended.stderr.count("error: cannot write to stdout: No space left on device\n") == 1
    assert "Traceback" not in ended.stderr
    assert done.exists() == (arguments != ["--help"])


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_output_fits_any_encoding_of_the_terminal(encoding: str, tmp_path: Path) -> None:
    process = start("-c", _WORK, str(tmp_path / "done"), PYTHONIOENCODING=encoding)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert b"Traceback" not in error
    assert "café" in json.loads(out.splitlines()[0].decode(encoding))["text"]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    process = start("-c", _WORK, str(tmp_path / "none" / "done"))
    _, error = process.communicate(timeout=30)
    assert process.returncode == 22
    assert error.splitlines()[-1].startswith(b"error: cannot use ")
    assert b"Traceback" not in error


@pytest.mark.parametrize(
    "module", ["device.publish", "device.provision", "ops.query", "ops.revoke", "local"]
)
def test_ctrl_c_while_a_command_is_imported_shows_no_traceback(module: str) -> None:
    statuses = []
    for milliseconds in (20, 60, 120, 250, 500):
        process = start("-X", "importtime", "-m", module, "--help")
        assert process.stderr is not None
        # Before this line the interpreter itself is starting, which shows its own traceback.
        while (line := process.stderr.readline()) and line.split()[-2:] != [b"|", b"device"]:
            pass
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert b"Traceback" not in error, error[-2000:]
        statuses.append(process.returncode)
    assert 130 in statuses


def test_an_error_is_its_message_and_then_its_remedy() -> None:
    error = DeviceError("expected a key, got none; really", remedy="run this again")
    assert str(error) == "expected a key, got none; really; run this again"
    assert (error.message, error.remedy) == ("expected a key, got none; really", "run this again")
    assert (str(DeviceError("no")), DeviceError("no").remedy) == ("no", None)


def test_a_wrong_contract_is_one_line() -> None:
    def callback() -> None:
        contracts.parse("telemetry", "garbage")

    result = CliRunner().invoke(cli.Command("use", callback=callback), [])
    assert result.exit_code == ExitStatus.USAGE
    assert result.stderr.startswith("error: telemetry.json: ")
    assert result.stderr.count("\n") == 1


def test_a_full_disk_is_one_line() -> None:
    @click.command(cls=cli.Command)
    def main() -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    done = CliRunner().invoke(main, [])
    assert done.exit_code == ExitStatus.FILE
    assert done.stderr == "error: cannot write a file: No space left on device\n"


@click.command(cls=cli.Command)
def asking() -> None:
    cli.confirm("Delete everything?")
    click.echo("deleted")


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        pytest.param("y\n", ExitStatus.OK, "", id="yes"),
        pytest.param("n\n", ExitStatus.DECLINED, "nothing was changed", id="no"),
        pytest.param("\n", ExitStatus.DECLINED, "nothing was changed", id="return"),
        pytest.param("", ExitStatus.USAGE, "--yes goes on without one", id="no stdin"),
    ],
)
def test_only_a_yes_goes_on_and_each_other_answer_has_its_own_status(
    answer: str, status: ExitStatus, said: str
) -> None:
    result = CliRunner().invoke(asking, [], input=answer)
    assert result.exit_code == status
    assert result.stdout == ("deleted\n" if status is ExitStatus.OK else "")
    assert said in result.stderr


def test_ctrl_c_at_a_question_is_an_interruption() -> None:
    code = "from tests.unit.device.test_cli import asking; asking()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stderr.read(6) == b"Delete"
        for _ in range(5):
            process.send_signal(signal.SIGINT)  # input() may drop one that comes as it begins
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
                break
        process.kill()
        assert process.returncode == ExitStatus.INTERRUPTED
        assert b"interrupted" in process.stderr.read()


def test_a_command_that_only_reads_can_see_that_its_reader_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", streams.unbreakable(stream))
        print("a line")
        assert not streams.reader_is_gone()
        os.close(reading)
        print("another line")
        assert streams.reader_is_gone()
        monkeypatch.undo()
    assert not streams.reader_is_gone()
