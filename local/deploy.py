"""Deploy the stack into the emulator, with the CDK's own command line."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from local.emulator import ACCOUNT, REGION, client_variables
from local.state import ENVIRONMENT, HOME, LOGS, ROOT, LocalError, environment

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
        LocalError: It failed; the message has the end of the CDK's output.
    """
    # The CDK would use what an interrupted run left there as if it were complete.
    shutil.rmtree(_ASSEMBLY, ignore_errors=True)
    # cdk.json has the app: "python app.py", the first python of the PATH.
    _cdk(
        "synth",
        ["--quiet", "--output", str(_ASSEMBLY), "-c", f"env={ENVIRONMENT}"],
        {},
        _SYNTH_SECONDS,
    )


def bootstrap() -> None:
    """Make the bucket and the roles that the CDK deploys with."""
    target = f"aws://{ACCOUNT}/{REGION}"
    _cdk("bootstrap", ["--app", "", target], client_variables(), _DEPLOY_SECONDS)


def deploy() -> None:
    """Deploy what ``synthesize`` wrote.

    Raises:
        LocalError: It failed; the message has the end of the CDK's output.
    """
    _cdk(
        "deploy",
        [
            *("--app", str(_ASSEMBLY), "--method", "direct", "--require-approval", "never"),
            *("--progress", "events"),
        ],
        client_variables(),
        _DEPLOY_SECONDS,
    )


def _cdk(command: str, arguments: list[str], variables: dict[str, str], seconds: int) -> None:
    if not (Path(sys.executable).parent / "cdk").exists():
        raise LocalError("the CDK's command line is not installed; run make setup")
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"cdk-{command}.log"
    with log.open("wb") as output:
        try:
            status = subprocess.run(
                ["cdk", command, "--no-notices", *arguments],
                cwd=ROOT,
                env=environment("cdk", CDK_DISABLE_CLI_TELEMETRY="true", **variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    if status != 0:
        raise LocalError(_explained(command, status, seconds, log))


def _explained(command: str, status: int, seconds: int, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    where = f"all of cdk {command}'s output is in {log.relative_to(HOME.parent)}"
    # What app.py says of a wrong contract or configuration is enough.
    ours = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if ours:
        return f"{ours[-1]} ({where})"
    why = f"took over {seconds} s" if status == -1 else f"failed with status {status}"
    tail = "\n".join(lines[-15:])
    return f"cdk {command} {why}; {where}, which ends:\n{tail}"
