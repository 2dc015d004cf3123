"""The local stack's life: taken ports, killed processes, interruptions, and nothing left behind.

In a copy of the project, which has a stack of its own beside the one that other tests use.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from device.errors import ExitStatus
from tests.local.conftest import Lake, wait_until
from tests.local.project import Project, output_of

# Nothing of this may reach the stack. Nobody listens on port 9.
_HOSTILE_ENVIRONMENT = {
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "SSL_CERT_FILE": "/nonexistent",
    "REQUESTS_CA_BUNDLE": "/nonexistent",
    "PIP_USER": "1",
    "PIP_TARGET": "/nonexistent",
    "NODE_ENV": "production",
    "LANG": "C",
    "LC_ALL": "C",
    "TZ": "America/Los_Angeles",
    "AWS_PROFILE": "nobody",
    "AWS_ACCESS_KEY_ID": "caller",
    "AWS_SECRET_ACCESS_KEY": "caller",
    "AWS_SESSION_TOKEN": "caller",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_CA_BUNDLE": "/nonexistent",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "PYTHONPATH": "/nonexistent",
}


@pytest.fixture(scope="module")
def project(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All tests use it in a folder whose name a shell would take apart, and as a caller who has
    other plans.
    """
    folder = tmp_path_factory.mktemp("copy") / 'it\'s ä "copy" & $HOME'
    made = Project(folder, _HOSTILE_ENVIRONMENT)
    yield made
    made.run("down")


@pytest.fixture
def nothing(project: Project) -> None:
    """There is no stack, and no data of one."""
    assert project.run("reset", "--yes")[0] == 0


@pytest.fixture
def running(project: Project) -> None:
    """The stack is up, and stays up."""
    if not (project.processes("emulator") and project.processes("firehose")):
        status, output = project.run("up", "--detach")
        assert status == 0, output


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


def add_up(project: Project) -> bool:
    figures = json.loads((project.folder / ".local" / "demo.json").read_text())
    sent, parsed = figures["readings_sent"], figures["readings_parsed"]
    return bool(
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


@pytest.mark.usefixtures("nothing")
def test_nothing_is_up_before_it_is_started(project: Project) -> None:
    assert project.run("status")[0] == ExitStatus.NO_STACK
    assert project.run("down") == (0, "the local stack was not running\n")
    assert project.run("reset", "--yes")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "ops.query", "SELECT 1", "--env", "local"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "error: the local stack is not running; run python -m local up\n"
    assert done.returncode != 0


def kill(process: subprocess.Popen[str]) -> None:
    assert process.poll() is None
    process.kill()
    output_of(process)


@pytest.mark.usefixtures("nothing")
def test_the_demo_works_killed_at_any_moment_and_run_again_on_other_ports(project: Project) -> None:
    process = project.start("demo")
    wait_until(lambda: project.processes("emulator"), "the start of the emulator")
    kill(process)
    # While the CDK bootstraps and deploys, and while devices publish.
    for step_before in ("start the emulator", "synthesize the stack", "provision 5 devices"):
        process = project.start("demo")
        assert process.stdout is not None
        assert any(step_before in line for line in process.stdout), step_before
        time.sleep(1)
        kill(process)
    status, output = project.run("demo", "--keep")
    assert status == 0, output
    assert add_up(project)
    running = project.status()
    assert running["up"] is True
    assert running["mqtt_port"] != 8883
    assert not str(running["endpoint_url"]).endswith(":4566")


@pytest.mark.usefixtures("running")
def test_answers_of_queries_do_not_depend_on_the_callers_time_zone(project: Project) -> None:
    publish(project, "clock", 1)
    wait_until(lambda: rows(project, "clock"), "the row")
    sql = "SELECT CAST(date_trunc('day', min(timestamp)) AS varchar) AS day FROM telemetry"
    answer = json.loads(project.module("ops.query", "--env", "local", "--format", "json", sql))
    assert answer["day"].endswith(" 00:00:00+00")


@pytest.mark.usefixtures("running")
def test_a_second_up_finds_the_first(project: Project) -> None:
    before = project.status()
    assert before["up"] is True
    assert project.run("up", "--detach")[0] == 0
    assert project.status() == before


@pytest.mark.usefixtures("running")
def test_the_apis_listen_on_loopback_only(project: Project) -> None:
    port = int(str(project.status()["endpoint_url"]).rpartition(":")[2])
    listening = {
        connection.laddr.ip
        for process in project.processes("emulator")
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.usefixtures("running")
def test_secrets_are_readable_by_their_owner_only(project: Project) -> None:
    home = project.folder / ".local"
    for path in (home / "aws" / "config", home / "tls" / "server.key"):
        assert path.stat().st_mode & 0o077 == 0, path
    logs = b"".join(path.read_bytes() for path in (home / "logs").iterdir())
    secret = (home / "aws" / "config").read_text().rpartition("aws_secret_access_key = ")[2]
    assert secret.strip().encode() not in logs
    assert b"PRIVATE KEY" not in logs


@pytest.mark.usefixtures("running")
def test_a_dead_emulator_is_noticed_and_replaced(project: Project) -> None:
    assert project.status()["up"] is True
    for process in project.processes("emulator"):
        process.kill()
    wait_until(lambda: not project.processes("emulator"), "the end of the emulator")
    status, output = project.run("status")
    assert status == ExitStatus.NO_STACK
    assert "run python -m local up" in output
    assert project.run("up", "--detach")[0] == 0
    assert project.status()["up"] is True


def publish(project: Project, thing: str, count: int) -> None:
    """Provision, if need be, and publish; every reading is acknowledged."""
    project.module("device.provision", "--env", "local", thing)
    output = project.module(
        *("device.publish", "--env", "local", "--thing", thing, "--count", str(count)),
        *("--format", "json"),
    )
    assert json.loads(output)["acknowledged"] == count


def rows(project: Project, thing: str) -> int:
    sql = f"SELECT count(*) AS readings FROM telemetry WHERE thing_name = '{thing}'"
    answer = project.module("ops.query", "--env", "local", "--format", "json", sql)
    return int(json.loads(answer)["readings"])


def kill_everything(project: Project) -> None:
    for process in project.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not project.processes(), "the end of all processes")


@pytest.mark.usefixtures("running")
def test_kill_9_loses_no_reading_and_no_identity(project: Project) -> None:
    for _ in range(3):
        publish(project, "survivor", 50)
        kill_everything(project)  # acknowledged, and neither delivered nor parsed
        assert project.run("up", "--detach")[0] == 0
    publish(project, "survivor", 50)
    wait_until(lambda: rows(project, "survivor") >= 200, "every reading that was acknowledged")
    assert rows(project, "survivor") == 200


@pytest.mark.usefixtures("running")
def test_an_object_whose_event_was_lost_is_parsed_after_a_restart(project: Project) -> None:
    before, known = project.status(), project.raw_objects()
    publish(project, "unparsed", 50)
    wait_until(lambda: project.raw_objects() - known, "the batch in the raw bucket")
    kill_everything(project)
    assert project.run("up", "--detach")[0] == 0
    wait_until(lambda: rows(project, "unparsed") >= 50, "the rows")
    assert rows(project, "unparsed") == 50
    assert project.status() == before


@pytest.mark.usefixtures("running")
def test_down_and_up_keep_rows_identities_and_spools(project: Project) -> None:
    publish(project, "kept", 20)
    wait_until(lambda: rows(project, "kept") == 20, "the rows")
    certificates = project.folder / "certs" / "local"
    identity = {path: path.read_bytes() for path in (certificates / "kept").glob("*.*")}
    assert project.run("down") == (0, "stopped; data and identities stay\n")
    assert project.processes() == []
    assert project.run("up", "--detach")[0] == 0
    assert rows(project, "kept") == 20
    publish(project, "kept", 20)
    wait_until(lambda: rows(project, "kept") == 40, "the rows of both runs")
    assert {path: path.read_bytes() for path in (certificates / "kept").glob("*.*")} == identity


@pytest.mark.usefixtures("running")
def test_a_typo_in_a_contract_changes_nothing(project: Project) -> None:
    publish(project, "constant", 20)
    wait_until(lambda: rows(project, "constant") == 20, "the rows")
    contract = project.folder / "contracts" / "telemetry.json"
    correct, before = contract.read_text(), project.status()
    contract.write_text(correct.replace('"number"', '"nomber"', 1))
    try:
        status, output = project.run("up", "--detach")
        assert (status, output.count("error: ")) == (ExitStatus.NO_STACK, 1)
        assert "nomber" in output
        assert "Traceback" not in output
        assert project.run("down")[0] == 0
        status, output = project.run("up", "--detach")  # down, with data
        assert (status, project.processes()) == (ExitStatus.NO_STACK, [])
        assert "nomber" in output
    finally:
        contract.write_text(correct)
    assert project.run("up", "--detach")[0] == 0
    assert project.status() == before
    assert rows(project, "constant") == 20


@pytest.mark.usefixtures("running")
def test_a_taken_port_is_said_and_keeps_the_data(project: Project) -> None:
    port = int(str(project.status()["mqtt_port"]))
    project.run("down")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        status, output = project.run("up", "--detach")
    assert status == ExitStatus.NO_STACK
    assert f"error: another program has port {port}" in output
    assert project.run("up", "--detach")[0] == 0
    assert project.status()["mqtt_port"] == port


@pytest.mark.usefixtures("running")
def test_up_says_truly_what_ctrl_c_does(project: Project) -> None:
    process = project.start("up")
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(3)]
    assert "It stays up after Ctrl-C; python -m local down stops it.\n" in said
    process.send_signal(signal.SIGINT)
    output = output_of(process)
    assert output.splitlines()[-1] == "the stack stays up; python -m local down stops it"
    assert project.status()["up"] is True


@pytest.mark.usefixtures("running")
def test_ctrl_c_takes_down_what_up_started(project: Project) -> None:
    project.run("down")
    process = project.start("up")
    wait_until(lambda: project.run("status")[0] == 0, "the stack")
    process.send_signal(signal.SIGINT)
    output = output_of(process)
    assert "Traceback" not in output
    assert project.processes() == []


@pytest.mark.usefixtures("running")
def test_only_reset_deletes_and_it_asks(project: Project) -> None:
    assert (project.folder / "certs" / "local").exists()
    status, output = project.run("reset")  # nobody answers
    assert status != 0
    assert "Delete .local and certs/local" in output
    assert project.status()["up"] is True
    assert project.run("reset", "--yes")[0] == 0
    assert project.processes() == []
    assert not (project.folder / ".local").exists()
    assert not (project.folder / "certs" / "local").exists()
    assert (project.folder / "app.py").exists()
    assert project.run("reset") == (0, "there is nothing to delete\n")


@pytest.mark.usefixtures("nothing")
def test_a_folder_that_cannot_be_used_is_one_line(project: Project) -> None:
    home = project.folder / ".local"
    home.write_text("a file where the folder should be")
    try:
        for command in (["up", "--detach"], ["demo"]):
            status, output = project.run(*command)
            assert status == ExitStatus.FILE
            assert output.startswith("error: cannot use ")
            assert len(output.splitlines()) == 1
    finally:
        home.unlink()
