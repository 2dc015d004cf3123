"""Build the assets of the functions: one zip file per function, without Docker.

Packages come from the hash-locked ``requirements.txt`` beside each function as wheels of the
target's platform; nothing is compiled here. Both layers are kept under ``.build`` by the hash of
what they are made of, so an unchanged function is never built again and needs no network.
"""

import hashlib
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uv

_ROOT = Path(__file__).resolve().parent.parent
_CACHE = _ROOT / ".build" / "parser"

# What no function call reads. The installer writes RECORD with hashes of scripts that name the
# builder's interpreter, and the other notes beside it.
_UNUSED = {
    *("__pycache__", "bin", "include", ".lock", ".DS_Store"),
    *("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"),
}


class AssetError(RuntimeError):
    """The packages of a function could not be installed for the target."""


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that runs the function.

    Attributes:
        python_version: ``major.minor``.
        platform: uv's name of it (https://docs.astral.sh/uv/reference/cli/#uv-pip-install);
            None for the machine that runs this.
    """

    python_version: str
    platform: str | None


@dataclass(frozen=True, slots=True)
class Function:
    """What is in a function's asset.

    Attributes:
        sources: Folders of our own packages, from the project's folder.
        lock: The locked requirements; None if it needs no packages. Lambda's runtime has boto3.
    """

    sources: tuple[str, ...]
    lock: str | None = None


_PARSER_SOURCES = ("lambda/parser/telemetry_parser", "contracts")
PARSER = Function(_PARSER_SOURCES, "lambda/parser/requirements.txt")
REBUILD = Function(
    ("lambda/rebuild/telemetry_rebuild", *_PARSER_SOURCES), "lambda/rebuild/requirements.txt"
)
HOOK = Function(("lambda/provisioning_hook/provisioning_hook",))

# Amazon Linux 2023, which Lambda's Python 3.12 and newer run on, has glibc 2.34.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
LAMBDA = Target("3.14", "aarch64-manylinux_2_34")
HOST = Target(f"{sys.version_info.major}.{sys.version_info.minor}", None)


def build(function: Function, target: Target) -> Path:
    """Return the zip file to hand to Lambda, built if it is not there yet.

    The same sources and packages give the same bytes, in any folder and with any Python. So the
    archive is not compressed: the output of zlib differs between its versions.

    Raises:
        AssetError: The packages cannot be installed; the message quotes the installer.
    """
    packages = None if function.lock is None else _packages(function.lock, target)
    sources = [_ROOT / source for source in function.sources]
    digest = hashlib.sha256(packages.name.encode() if packages else b"")
    for name, path in _shipped(*sources):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())

    def fill(scratch: Path) -> None:
        files = [*_shipped(*sources), *(_shipped_inside(packages) if packages else ())]
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for name, path in sorted(files):
                # A fixed timestamp and fixed permissions, readable by every user of Lambda.
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.create_system = 3  # Unix
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, path.read_bytes())

    return _made_once(_CACHE / "assets" / f"{digest.hexdigest()[:16]}.zip", fill)


def unzipped_bytes(asset: Path) -> int:
    """The unzipped size of an asset, which Lambda limits to 250 MiB.

    See https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    with zipfile.ZipFile(asset) as archive:
        return sum(info.file_size for info in archive.infolist())


def _packages(lock: str, target: Target) -> Path:
    path = _ROOT / lock
    digest = hashlib.sha256(repr(target).encode() + path.read_bytes()).hexdigest()[:16]

    def fill(folder: Path) -> None:
        command = [
            *(uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(folder)),
            *("--require-hashes", "--only-binary", ":all:", "--requirements", str(path)),
            *("--python", sys.executable, "--python-version", target.python_version),
        ]
        if target.platform is not None:
            command += ["--python-platform", target.platform]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssetError(
                f"could not install {lock} for {target}: {' '.join(done.stderr.split())}; "
                "is PyPI reachable? Then run make setup"
            )

    return _made_once(_CACHE / "packages" / digest, fill)


def _made_once(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make ``path`` whole or not at all, also while another process makes it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, ignore_cleanup_errors=True) as folder:
            scratch = Path(folder) / path.name
            fill(scratch)
            # A folder cannot replace one that is not empty: another build was first then.
            try:
                scratch.rename(path)
            except OSError:
                if not path.exists():
                    raise
    return path


def _shipped(*roots: Path) -> Iterator[tuple[str, Path]]:
    """Each file of packages of ours, with its name in the archive."""
    for root in roots:
        for name, path in _shipped_inside(root):
            yield f"{root.name}/{name}", path


def _shipped_inside(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not _UNUSED & set(name.parts) and path.suffix not in {".pyc", ".pyi"}:
            yield name.as_posix(), path


def main() -> None:
    """Fetch what both targets need, so that synthesis needs no network; report the sizes."""
    for function in (PARSER, REBUILD):
        build(function, HOST)
    sizes = " and ".join(
        f"{unzipped_bytes(build(function, LAMBDA)) / 1e6:.1f}" for function in (PARSER, REBUILD)
    )
    print(f"the assets for {LAMBDA.platform}, Python {LAMBDA.python_version}: {sizes} MB unzipped")


if __name__ == "__main__":
    try:
        main()
    except AssetError as error:
        sys.exit(f"error: {error}")
