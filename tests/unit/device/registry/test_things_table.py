"""device.provision --from: many at once, past those that fail, and again until all are there."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from device import aws, identity
from device.errors import AwsError, ExitStatus
from device.provision import main
from device.registry import things_table
from tests.unit.device.fakes import FakeIot, environment

THINGS = [f"sensor-{number}" for number in range(1, 13)]


@pytest.fixture
def iot() -> FakeIot:
    return FakeIot()


@pytest.fixture
def command(
    tmp_path: Path, iot: FakeIot, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Result]:
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, iot))

    def run(content: str) -> Result:
        path = tmp_path / "things.csv"
        path.write_text(content)
        return CliRunner().invoke(main, ["--env", "dev", "--from", str(path)])

    return run


def table(*names: str) -> str:
    return "\n".join(["site,thing_name", *(f"north,{name}" for name in names)]) + "\n"


def test_makes_every_identity_and_prints_their_folders(
    tmp_path: Path, iot: FakeIot, command: Callable[[str], Result]
) -> None:
    result = command(table(*THINGS))
    assert result.exit_code == ExitStatus.OK, result.stderr
    folders = [tmp_path / "certs/dev" / name for name in THINGS]
    assert sorted(result.stdout.split()) == sorted(map(str, folders))
    assert len({identity.load(folder).device.certificate_id for folder in folders}) == len(THINGS)


def test_run_again_it_changes_nothing(iot: FakeIot, command: Callable[[str], Result]) -> None:
    command(table(*THINGS))
    iot.calls.clear()
    assert command(table(*THINGS)).exit_code == ExitStatus.OK
    assert iot.changes() == []


def test_goes_on_past_a_thing_that_fails_and_completes_it_the_next_time(
    iot: FakeIot, command: Callable[[str], Result]
) -> None:
    iot.things["sensor-2"] = {"arn:aws:iot:eu-central-1:123456789012:cert/elsewhere"}
    result = command(table("sensor-1", "sensor-2", "sensor-3"))
    assert result.exit_code == ExitStatus.CONFLICT
    assert "error: line 3: sensor-2: expected thing sensor-2 to have no" in result.stderr
    assert len(result.stdout.split()) == 2
    iot.things["sensor-2"].clear()
    assert command(table("sensor-1", "sensor-2", "sensor-3")).exit_code == ExitStatus.OK


def test_names_every_bad_line_and_provisions_nothing(
    iot: FakeIot, command: Callable[[str], Result]
) -> None:
    result = command(table("sensor-1", "no spaces", "sensor-1", ""))
    assert result.exit_code == ExitStatus.USAGE
    assert "line 3: expected a thing name" in result.stderr
    assert "line 4: sensor-1 is on line 2 already" in result.stderr
    assert "line 5: expected a thing name" in result.stderr
    assert iot.calls == []


@pytest.mark.parametrize("content", ["", "name\nsensor-1\n", 'thing_name\n"open'])
def test_what_is_no_table_is_an_error_with_its_line(
    content: str, command: Callable[[str], Result]
) -> None:
    result = command(content)
    assert result.exit_code == ExitStatus.USAGE
    assert "error: line " in result.stderr


def test_a_table_without_things_is_nothing_to_do(
    iot: FakeIot, command: Callable[[str], Result]
) -> None:
    result = command("thing_name\n")
    assert (result.exit_code, result.stdout) == (ExitStatus.OK, "")
    assert result.stderr.endswith("things.csv names no thing; nothing to do\n")
    assert iot.calls == []


@pytest.mark.parametrize(
    ("bad", "said"), [(["x y"], "1 bad line;"), (["x y", "z?"], "2 bad lines;")]
)
def test_counts_bad_lines_in_the_right_number(
    command: Callable[[str], Result], bad: list[str], said: str
) -> None:
    assert f"got {said} nothing was provisioned" in command(table("sensor-1", *bad)).stderr


def test_takes_one_thing_or_a_table(tmp_path: Path) -> None:
    path = tmp_path / "things.csv"
    path.write_text(table())
    for arguments in ([], ["--from", str(path), "sensor-1"]):
        result = CliRunner().invoke(main, ["--env", "dev", *arguments])
        assert result.exit_code == ExitStatus.USAGE


def test_works_on_a_few_at_a_time() -> None:
    at_work: set[str] = set()
    most = 0
    lock = threading.Lock()
    together = threading.Event()

    def work(name: str) -> str:
        nonlocal most
        with lock:
            at_work.add(name)
            most = max(most, len(at_work))
        together.wait(0.02)
        with lock:
            at_work.remove(name)
        return name

    rows = [things_table.Row(line, name) for line, name in enumerate(THINGS, start=2)]
    assert {result for _, result in things_table.each(rows, work)} == set(THINGS)
    assert 1 < most <= 4


def test_stopped_early_it_begins_nothing_more() -> None:
    begun: list[str] = []

    def work(name: str) -> str:
        begun.append(name)
        threading.Event().wait(0.02)
        if name == "sensor-2":
            raise AwsError("no")
        return name

    rows = [things_table.Row(line, name) for line, name in enumerate(THINGS, start=2)]
    results = things_table.each(rows, work)
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(begun) < len(THINGS)
