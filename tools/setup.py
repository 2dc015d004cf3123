"""Install everything that the project needs. Only the standard library: this runs first.

Each step is skipped while the files it depends on are what they were when it last succeeded,
so a second run installs nothing, needs no network, and takes no time.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
DONE = VENV / ".setup"
LOG = ROOT / ".build" / "setup.log"

# Variables that the steps inherit from the caller: programs, temporary files, and the way to
# the package registries. Anything else, as PIP_TARGET or NODE_ENV, could change what is installed.
INHERITED = (
    *("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("UV_NATIVE_TLS", "npm_config_registry", "NPM_CONFIG_REGISTRY"),
)

_NETWORK = "Is the network up, and is PyPI reachable? Then run `make setup` again."


@dataclass(frozen=True)
class Step:
    """One command, and what must change before it has to run again.

    Attributes:
        name: Shown as progress, and names the file that remembers the step.
        command: Argument list, run in the project's folder.
        inputs: Files whose content decides whether the step is up to date.
        remedy: What to do when it fails.
        output: A path that the command makes. The step also runs when it is gone.
    """

    name: str
    command: tuple[str | Path, ...]
    inputs: tuple[str, ...]
    remedy: str
    output: str = "."


def _interpreter() -> str:
    """The Python to make the environment with.

    make finds the environment's own first. While that is incomplete, as after an interruption, it
    does not know of another, and would become a link to itself.
    """
    found: str = sys._base_executable  # type: ignore[attr-defined]  # not in the stubs
    return os.path.realpath(found) if Path(found).is_relative_to(VENV) else found


STEPS = (
    Step(
        "virtual environment",
        (_interpreter(), "-m", "venv", "--clear", VENV),
        ("tools/setup.py",),
        "Python's venv module is needed (Debian: apt install python3-venv).",
    ),
    Step(
        "installer",
        # -I: no PYTHON* variable and no user site may reach into the environment.
        (
            *(
                BIN / "python",
                "-I",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ),
            *("--require-hashes", "-r", "requirements-uv.txt"),
        ),
        ("requirements-uv.txt",),
        _NETWORK,
        ".venv/bin/uv",
    ),
    Step(
        "Python packages",
        (
            *(BIN / "uv", "pip", "sync", "--quiet", "--python", BIN / "python"),
            *("--require-hashes", "requirements-dev.txt"),
        ),
        ("requirements-dev.txt",),
        _NETWORK,
    ),
    Step(
        "functions, editable",
        (
            *(BIN / "uv", "pip", "install", "--quiet", "--python", BIN / "python", "--offline"),
            *("--no-deps", "--no-build-isolation", "--editable", "lambda/parser"),
            *("--editable", "lambda/rebuild", "--editable", "lambda/provisioning_hook"),
        ),
        (
            "requirements-dev.txt",
            "lambda/parser/pyproject.toml",
            "lambda/rebuild/pyproject.toml",
            "lambda/provisioning_hook/pyproject.toml",
        ),
        "Run `make clean setup`.",
    ),
    Step(
        "CDK command line",
        (BIN / "npm", "ci", "--no-audit", "--no-fund", "--silent"),
        ("package-lock.json", "requirements-dev.txt"),
        "Is the npm registry reachable? Then run `make setup` again.",
        "node_modules/.bin/cdk",
    ),
    Step(
        "Lambda packages",
        (BIN / "python", "-m", "stacks.parser_asset"),
        (
            "lambda/parser/requirements.txt",
            "lambda/rebuild/requirements.txt",
            "stacks/parser_asset.py",
        ),
        _NETWORK,
        ".build/parser",
    ),
)


def main() -> int:
    """Run every step that is not up to date; return the process's exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036  # this is where an older one is told so
        _say(
            f"error: expected Python 3.11 or newer, got {sys.version.split()[0]} "
            f"({sys.executable}); run make PYTHON=/path/to/python3.11"
        )
        return 1
    with _only_one():
        if not _works(BIN / "python"):
            shutil.rmtree(DONE, ignore_errors=True)
        for number, step in enumerate(STEPS, start=1):
            if not _run(number, step):
                return 1
        # So that `cdk` is there wherever the environment is activated.
        if not (BIN / "cdk").exists():
            (BIN / "cdk").unlink(missing_ok=True)
            (BIN / "cdk").symlink_to(ROOT / "node_modules" / ".bin" / "cdk")
    return 0


def _say(text: str, end: str = "\n") -> None:
    """Print to stderr; a reader that is gone (``make setup 2>&1 | head -1``) changes nothing."""
    with contextlib.suppress(BrokenPipeError):
        print(text, end=end, file=sys.stderr, flush=True)


def _works(python: Path) -> bool:
    """Whether the environment's interpreter is there, runs, and belongs to this folder."""
    with contextlib.suppress(OSError):
        found = subprocess.run(
            [python, "-I", "-c", "import sys; print(sys.prefix)"],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        home = DONE / "home"
        return found.returncode == 0 and home.exists() and home.read_text() == str(VENV)
    return False


def _run(number: int, step: Step) -> bool:
    done = DONE / step.name.replace(" ", "-")
    digest = _digest(step)
    if done.exists() and done.read_text() == digest and (ROOT / step.output).exists():
        return True
    _say(f"setup {number}/{len(STEPS)}: {step.name} ... ", end="")
    started = time.monotonic()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment |= {"LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    with LOG.open("wb") as log:
        status = subprocess.run(
            step.command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
    if status != 0:
        _say("failed")
        _say(LOG.read_text(errors="replace")[-4000:])
        _say(
            f"error: set-up step {number} ({step.name}) failed with status {status}. "
            f"{step.remedy} (Its output is in {LOG.relative_to(ROOT)}.)"
        )
        return False
    said = LOG.read_text(errors="replace").strip()
    result = f", {said}" if said and "\n" not in said else ""
    _say(f"done ({time.monotonic() - started:.0f} s{result})")
    DONE.mkdir(parents=True, exist_ok=True)
    (DONE / "home").write_text(str(VENV))
    done.write_text(digest)
    return True


def _digest(step: Step) -> str:
    digest = hashlib.sha256(repr(step.command[1:]).encode())
    for name in step.inputs:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Let a second set-up of the same folder wait for the first."""
    import fcntl

    (ROOT / ".build").mkdir(exist_ok=True)
    with (ROOT / ".build" / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say("setup: waiting for another set-up of this folder ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        _say("\ninterrupted; run `make setup` to go on")
        sys.exit(130)
    except OSError as error:
        _say(f"\nerror: cannot use {error.filename or ROOT}: {error.strerror}")
        sys.exit(1)
