"""Where the local stack keeps its files, and how its processes are found again.

Everything is under ``.local``; what must survive a restart is under ``.local/data``. Processes are
found by a variable in their environment, not by a file of process ids: that also works after a
crash between starting a process and writing down its id.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from device.errors import DeviceError, ExitStatus
from device.files import write_private
from device.identity import PROJECT_ROOT

ROOT = Path(__file__).resolve().parent.parent
HOME = PROJECT_ROOT / ".local"
LOGS = HOME / "logs"
TLS = HOME / "tls"
DATA = HOME / "data"
BUFFERS = DATA / "firehose"
AWS_CONFIG = HOME / "aws" / "config"
MQTT = HOME / "mqtt.json"
IDENTITIES = PROJECT_ROOT / "certs" / "local"
_STATE = HOME / "state.json"
_DEPLOYED = DATA / "deployed"

ENVIRONMENT = "local"

# Set in the environment of each process of ours; its value is HOME.
MARKER = "TELEMETRY_LOCAL_HOME"
# What the process is. The stack is whole while all of ROLES run.
ROLE = "TELEMETRY_LOCAL_ROLE"
ROLES = ("emulator", "firehose")

# Variables that the stack's processes inherit from the command that starts them: where
# programs and libraries are, and where the caches of the CDK are.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR")

_STOP_SECONDS = 5
_SPAWNED: list[subprocess.Popen[bytes]] = []


class LocalError(DeviceError):
    """The local stack cannot do what was asked; the message says what to do."""

    status = ExitStatus.NO_STACK


@dataclass(frozen=True, slots=True)
class State:
    """A stack that is completely up.

    Attributes:
        endpoint_url: URL of every AWS API.
        mqtt_port: MQTT over mutual TLS, on localhost.
        deployed: Hash of what was deployed; a different one is deployed again.
        keep: It stays up until ``down``; otherwise its last user stops it.
    """

    endpoint_url: str
    mqtt_port: int
    deployed: str
    keep: bool


def load() -> State | None:
    """The stack that is up; None if no stack, or only a part of one, is up."""
    try:
        state = State(**json.loads(_STATE.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return state if running_roles() >= set(ROLES) else None


def save(state: State) -> None:
    """Remember a stack that is completely up."""
    write_privately(_DEPLOYED, state.deployed)
    write_privately(_STATE, json.dumps(asdict(state), indent=2))


def deployed() -> str | None:
    """The hash of what the data's stack was deployed from; None if there is no whole stack."""
    try:
        return _DEPLOYED.read_text()
    except FileNotFoundError:
        return None


def forget() -> None:
    """Forget the stack that was up; its data stays."""
    for path in (_STATE, MQTT, AWS_CONFIG):
        path.unlink(missing_ok=True)


def remove_data() -> None:
    """Delete what a stack that was never completely up has left."""
    for path in (DATA, TLS):
        shutil.rmtree(path, ignore_errors=True)


def environment(role: str, **variables: str) -> dict[str, str]:
    """The environment of a process of ours: nothing of the caller's but ``_INHERITED``."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    binaries = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": os.pathsep.join([binaries, inherited.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        # Athena's answers on the laptop depend on it.
        "TZ": "UTC",
        # Nothing of ~/.aws either.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        MARKER: str(HOME),
        ROLE: role,
        **variables,
    }


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, text.encode())


def spawn(role: str, command: Sequence[str], **variables: str) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, under its role, with a log named after it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{role}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(role, **variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal is for the command, which then stops this.
            start_new_session=True,
        )
    # Python warns when a process that still runs is garbage-collected.
    _SPAWNED.append(process)
    return process


def running_roles() -> set[str]:
    """Which of ROLES have a process; the emulator's own workers count as it."""
    return {role for _, role in _marked()}


def _marked() -> Iterator[tuple[psutil.Process, str]]:
    """This folder's processes and their roles."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get(MARKER) == str(HOME) and process.status() != psutil.STATUS_ZOMBIE:
                yield process, environment.get(ROLE, "")


def stop_processes(role: str | None = None) -> bool:
    """Kill this folder's processes, or those of one role; return whether there were any.

    Nothing is lost: what they have acknowledged is on disk.
    """
    ours = [process for process, its_role in _marked() if role in (None, its_role)]
    for process in ours:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(ours, timeout=_STOP_SECONDS)
    return bool(ours)


@contextlib.contextmanager
def changing() -> Iterator[None]:
    """Let only one command at a time start or stop the stack."""
    with _lock("changing.lock", fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def using() -> Iterator[None]:
    """Say that the stack is in use, for as long as the context lasts."""
    with _lock("using.lock", fcntl.LOCK_SH):
        yield


def in_use() -> bool:
    """Whether any command is within ``using``."""
    try:
        with _lock("using.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def _lock(name: str, operation: int) -> Iterator[None]:
    HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (HOME / name).open("w") as file:
        fcntl.flock(file, operation)
        yield
