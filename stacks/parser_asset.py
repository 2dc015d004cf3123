"""The parser's asset: one folder, ready to be zipped for Lambda, built without Docker.

Packages come from the hash-locked ``lambda/parser/requirements.txt`` as wheels of the target's
platform; nothing is compiled here. Both layers are kept under ``.build`` by the hash of what
they are made of, so an unchanged parser is never built again and needs no network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uv

_ROOT = Path(__file__).resolve().parent.parent
_LOCK = _ROOT / "lambda" / "parser" / "requirements.txt"
_SOURCES = (_ROOT / "lambda" / "parser" / "telemetry_parser", _ROOT / "contracts")
_CACHE = _ROOT / ".build" / "parser"

# What a wheel ships that no function call reads.
_UNUSED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", "bin", "include", ".lock")


class AssetError(RuntimeError):
    """The parser's packages could not be installed for the target."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that runs the function.

    Attributes:
        python_version: ``major.minor``.
        platform: uv's name of it (https://docs.astral.sh/uv/reference/cli/#uv-pip-install);
            None: the machine that runs this.
    """

    python_version: str
    platform: str | None


# Amazon Linux 2023, which Lambda's Python 3.12 and newer run on, has glibc 2.34.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
LAMBDA = Target("3.14", "aarch64-manylinux_2_34")
HOST = Target(f"{sys.version_info.major}.{sys.version_info.minor}", None)


def build(target: Target) -> Path:
    """Return the folder to hand to Lambda, built if it is not there yet.

    Raises:
        AssetError: The packages cannot be had; the message says what the installer said.
    """
    packages = _packages(target)
    digest = hashlib.sha256(packages.name.encode())
    sources = sorted(path for root in _SOURCES for path in root.rglob("*") if _ships(path))
    for path in sources:
        digest.update(f"{path.relative_to(_ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())

    def fill(folder: Path) -> None:
        # Linked, not copied: the packages are most of the size and never change.
        shutil.copytree(packages, folder, copy_function=_link, ignore=_UNUSED, dirs_exist_ok=True)
        for root in _SOURCES:
            shutil.copytree(root, folder / root.name, ignore=_UNUSED)

    return _made_once(_CACHE / "assets" / digest.hexdigest()[:16], fill)


def size_in_bytes(folder: Path) -> int:
    """The unzipped size of an asset, which Lambda limits to 250 MiB.

    See https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _packages(target: Target) -> Path:
    digest = hashlib.sha256(repr(target).encode() + _LOCK.read_bytes()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        command = [
            *(uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(folder)),
            *("--require-hashes", "--only-binary", ":all:", "--requirements", str(_LOCK)),
            *("--python", sys.executable, "--python-version", target.python_version),
        ]
        if target.platform is not None:
            command += ["--python-platform", target.platform]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssetError(
                f"could not install {_LOCK.relative_to(_ROOT)} for {target}: "
                f"{done.stderr.strip()}; is PyPI reachable? Then run make setup"
            )

    return _made_once(_CACHE / "packages" / digest, fill)


def _made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Make ``folder`` whole or not at all, whoever else is making it."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            fill(scratch)
            # Lambda runs the code as another user than the one that built it.
            scratch.chmod(0o755)
            scratch.rename(folder)
        except OSError:
            if not folder.exists():  # else another build was first, with the same content
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _ships(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc"


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, destination)


def main() -> None:
    """Fetch what both targets need, so that synthesis needs no network; report the size."""
    _packages(HOST)
    megabytes = size_in_bytes(build(LAMBDA)) / 1e6
    print(
        f"the asset for {LAMBDA.platform}, Python {LAMBDA.python_version}: "
        f"{megabytes:.1f} MB unzipped"
    )


if __name__ == "__main__":
    try:
        main()
    except AssetError as error:
        sys.exit(f"error: {error}")
