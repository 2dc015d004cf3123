"""The local stack's life: taken ports, killed processes, interruptions, and nothing left behind.

In a copy of the project, which has a stack of its own beside the one that other tests use.
"""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.state import MARKER, ROLE, ROOT
from tests.local.conftest import Lake, wait_until

_TIMEOUT_SECONDS = 180


class Project:
    """A copy of the project: its tracked files, with the installed packages of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        for name in ("app.py", "cdk.json"):
            shutil.copy(ROOT / name, folder)
        for name in ("contracts", "stacks", "lambda", "device", "local", "ops"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        shutil.copy(ROOT / "requirements-dev.txt", folder)
        for name in (".venv", "node_modules", ".build"):
            (folder / name).symlink_to(ROOT / name)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "local", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
        return process.returncode, output

    def status(self) -> dict[str, object]:
        return dict(json.loads(self.run("status", "--format", "json")[1]))

    def processes(self, role: str | None = None) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except psutil.Error:
                continue
            if environment.get(MARKER) == str(self.folder / ".local") and (
                role is None or environment.get(ROLE) == role
            ):
                found.append(process)
        return found

    def figures(self) -> dict[str, int]:
        return dict(json.loads((self.folder / ".local" / "demo.json").read_text()))


@pytest.fixture(scope="module")
def project(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("copy") / "project")
    yield made
    made.run("down")


@pytest.fixture(scope="module", autouse=True)
def usual_ports_taken() -> Iterator[None]:
    """See that nothing else can listen where the stack would by choice."""
    with contextlib.ExitStack() as held:
        for port in (4566, 8883):
            holder = held.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # taken by another stack
                holder.bind(("0.0.0.0", port))  # noqa: S104  # for a moment, and nobody is served
                holder.listen()
        yield


def add_up(figures: dict[str, int]) -> bool:
    sent, parsed = figures["readings_sent"], figures["readings_parsed"]
    return (
        figures["raw_messages"] == figures["published"] > 0
        and parsed + figures["readings_rejected"] == sent
        and figures["athena_rows"] == parsed
    )


@pytest.mark.parametrize(
    "arguments", [["stop"], ["up", "--detatch"], ["demo", "extra"], ["status", "--format", "xml"]]
)
def test_a_wrong_command_line_is_a_usage_error(project: Project, arguments: list[str]) -> None:
    status, output = project.run(*arguments)
    assert status == 2
    assert "Usage:" in output


def test_nothing_is_up_before_it_is_started(project: Project) -> None:
    assert project.run("status")[0] == 1
    assert project.run("down")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "ops.query", "SELECT 1", "--env", "local"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "error: the local stack is not running; run python -m local up\n"
    assert done.returncode != 0


def test_the_demo_works_killed_at_any_moment_and_run_again_on_other_ports(
    project: Project,
) -> None:
    # While the emulator starts, while the CDK deploys, and while devices publish.
    for seconds in (1.0, 6.0, 18.0):
        process = project.start("demo")
        time.sleep(seconds)
        process.kill()
        process.communicate(timeout=_TIMEOUT_SECONDS)
    process = project.start("demo", "--keep")
    output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    assert process.returncode == 0, output
    assert add_up(project.figures())
    status = project.status()
    assert status["up"] is True
    assert status["mqtt_port"] != 8883
    assert not str(status["endpoint_url"]).endswith(":4566")


def test_a_second_up_finds_the_first(project: Project) -> None:
    before = project.status()
    assert before["up"] is True
    assert project.run("up", "--detach")[0] == 0
    assert project.status() == before


def test_the_apis_listen_on_loopback_only(project: Project) -> None:
    port = int(str(project.status()["endpoint_url"]).rpartition(":")[2])
    listening = {
        connection.laddr.ip
        for process in project.processes("emulator")
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


def test_secrets_are_readable_by_their_owner_only(project: Project) -> None:
    home = project.folder / ".local"
    for path in (home / "aws" / "config", home / "tls" / "server.key"):
        assert path.stat().st_mode & 0o077 == 0, path
    logs = b"".join(path.read_bytes() for path in (home / "logs").iterdir())
    secret = (home / "aws" / "config").read_text().rpartition("aws_secret_access_key = ")[2]
    assert secret.strip().encode() not in logs
    assert b"PRIVATE KEY" not in logs


def test_a_dead_emulator_is_noticed_and_replaced(project: Project) -> None:
    assert project.status()["up"] is True
    for process in project.processes("emulator"):
        process.kill()
    wait_until(lambda: not project.processes("emulator"), "the end of the emulator")
    status, output = project.run("status")
    assert status == 1
    assert "run python -m local up" in output
    assert project.run("up", "--detach")[0] == 0
    assert project.status()["up"] is True


def test_ctrl_c_takes_down_what_up_started(project: Project) -> None:
    project.run("down")
    process = project.start("up")
    wait_until(lambda: project.run("status")[0] == 0, "the stack")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    assert "Traceback" not in output
    assert project.processes() == []


def test_down_leaves_no_process_and_reset_no_file(project: Project) -> None:
    assert project.run("up", "--detach")[0] == 0
    assert project.run("down")[0] == 0
    assert project.processes() == []
    assert project.run("reset")[0] == 0
    assert not (project.folder / ".local").exists()
    assert not (project.folder / "certs" / "local").exists()
    assert (project.folder / "app.py").exists()
