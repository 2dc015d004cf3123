"""Deploy the stack into the emulator, with the CDK's own command line."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from local.emulator import ACCOUNT, REGION, client_environment
from local.state import ENVIRONMENT, HOME, LOGS, MARKER, ROLE, ROOT, LocalError

_ASSEMBLY = HOME / "cdk.out"
_SOURCES = (
    *("app.py", "cdk.json", "contracts", "stacks", "lambda", "local"),
    "requirements-dev.txt",
)
# The commands take seconds; a stack that hangs must not hang everything.
_SYNTH_SECONDS = 300
_DEPLOY_SECONDS = 300


def fingerprint() -> str:
    """A hash of everything that decides what is deployed and what runs beside it."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        root = ROOT / source
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and path.suffix in {".py", ".json", ".txt"}:
                digest.update(f"{path.relative_to(ROOT)}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def synthesize() -> None:
    """Write the cloud assembly of environment ``local``. Needs no emulator.

    Raises:
        LocalError: With the end of what the CDK said.
    """
    # What an interrupted run left there, the CDK would take for complete.
    shutil.rmtree(_ASSEMBLY, ignore_errors=True)
    _cdk(
        "synth",
        [
            *("--quiet", "--app", f"{sys.executable} app.py", "--output", str(_ASSEMBLY)),
            *("-c", f"env={ENVIRONMENT}"),
        ],
        dict(os.environ),
        _SYNTH_SECONDS,
    )


def bootstrap() -> None:
    """Make the bucket and the roles that the CDK deploys with."""
    target = f"aws://{ACCOUNT}/{REGION}"
    _cdk("bootstrap", ["--app", "", target], client_environment(), _DEPLOY_SECONDS)


def deploy() -> None:
    """Deploy what ``synthesize`` wrote.

    Raises:
        LocalError: With the end of what the CDK said.
    """
    _cdk(
        "deploy",
        [
            *("--app", str(_ASSEMBLY), "--method", "direct", "--require-approval", "never"),
            *("--progress", "events"),
        ],
        client_environment(),
        _DEPLOY_SECONDS,
    )


def _cdk(command: str, arguments: list[str], environment: dict[str, str], seconds: int) -> None:
    binaries = Path(sys.executable).parent
    if not (binaries / "cdk").exists():
        raise LocalError("the CDK's command line is not installed; run make setup")
    environment["PATH"] = f"{binaries}{os.pathsep}{environment.get('PATH', '')}"
    # So that it is found and stopped, should this process be killed.
    environment |= {MARKER: str(HOME), ROLE: "cdk"}
    environment["CDK_DISABLE_CLI_TELEMETRY"] = "true"
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"cdk-{command}.log"
    with log.open("wb") as output:
        try:
            status = subprocess.run(
                ["cdk", command, "--no-notices", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    if status != 0:
        why = f"took over {seconds} s" if status == -1 else f"failed with status {status}"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LocalError(f"cdk {command} {why}; see {log.relative_to(ROOT)}, which ends:\n{tail}")
