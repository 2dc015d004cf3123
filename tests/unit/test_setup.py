"""tools/setup.py: what reaches its steps, and one line for what a person can fix."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import setup

_SETUP = Path(setup.__file__)


def run_setup(folder: Path, stderr: int) -> subprocess.CompletedProcess[str]:
    """Run a copy of set-up in ``folder``, where every step would fail."""
    (folder / "tools").mkdir()
    script = shutil.copy(_SETUP, folder / "tools")
    return subprocess.run(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
    )


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".build").write_text("a file where the folder should be")
    done = run_setup(tmp_path, subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == f"\nerror: cannot use {tmp_path / '.build'}: File exists\n"


def test_nothing_of_the_callers_environment_reaches_a_step_unless_it_is_meant_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "DONE", tmp_path / "done")
    monkeypatch.setattr(setup, "LOG", tmp_path / "log")
    for name in ("PIP_USER", "PIP_TARGET", "NODE_ENV", "PYTHONPATH", "AWS_PROFILE", "LC_ALL", "TZ"):
        monkeypatch.setenv(name, "hostile")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    found = tmp_path / "environment.json"
    code = f"import json, os; json.dump(dict(os.environ), open({str(found)!r}, 'w'))"
    assert setup._run(1, setup.Step("step", (sys.executable, "-c", code), (), "remedy"))
    environment = json.loads(found.read_text())
    assert "hostile" not in environment.values()
    assert environment["HTTPS_PROXY"] == "http://proxy"
    assert set(environment) <= {*setup.INHERITED, "LANG", "LC_CTYPE", "PYTHONUTF8"}


def test_an_environment_that_was_left_incomplete_is_not_made_with_itself(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    own = tmp_path / ".venv" / "bin" / "python3"
    own.symlink_to(os.path.realpath(sys.executable))
    (tmp_path / "tools").mkdir()
    shutil.copy(_SETUP, tmp_path / "tools")
    code = "import setup; print(setup.STEPS[0].command[0])"
    found = subprocess.run(
        [own, "-c", code], cwd=tmp_path / "tools", capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == os.path.realpath(sys.executable)


def test_a_step_runs_again_when_what_it_made_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "DONE", tmp_path / "done")
    monkeypatch.setattr(setup, "LOG", tmp_path / "log")
    code = "import pathlib; pathlib.Path('made').mkdir(); open('runs', 'a').write('x')"
    step = setup.Step("step", (sys.executable, "-c", code), (), "remedy", "made")
    assert setup._run(1, step)
    assert setup._run(1, step)
    assert (tmp_path / "runs").read_text() == "x"
    (tmp_path / "made").rmdir()
    assert setup._run(1, step)
    assert (tmp_path / "runs").read_text() == "xx"


def test_a_reader_that_is_gone_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", closefd=False) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        setup._say("first", end="")
        setup._say("second")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is still in the stream goes there
    os.close(writer)
