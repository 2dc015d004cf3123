"""A copy of the project, for tests that need a local stack of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from local.state import MARKER, ROLE, ROOT

_TIMEOUT_SECONDS = 180


class Project:
    """The project's files in another folder, with the installed packages of this one.

    Args:
        folder: Where it is made.
        variables: Set in the environment of each command.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = {**os.environ, **(variables or {})}
        self.folder.mkdir()
        for name in ("app.py", "cdk.json", "requirements-dev.txt"):
            shutil.copy(ROOT / name, folder)
        for name in ("contracts", "stacks", "lambda", "device", "local", "ops"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        for name in (".venv", "node_modules", ".build"):
            (folder / name).symlink_to(ROOT / name)

    def commit(self) -> None:
        """Commit the contracts to a git repository in the folder."""
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        for arguments in (("init",), ("add", "contracts"), ("commit", "--message", "contracts")):
            git = ["git", "-C", str(self.folder), *identity, *arguments]
            subprocess.run(git, check=True, capture_output=True)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``python -m local …``."""
        return subprocess.Popen(
            [sys.executable, "-m", "local", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run ``python -m local …``; return its status and all that it printed."""
        process = self.start(*arguments)
        output = output_of(process)
        return process.returncode, output

    def module(self, *arguments: str, status: int = 0) -> str:
        """Run ``python -m …``, which ends with ``status``; return its stdout."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, object]:
        return dict(json.loads(self.run("status", "--format", "json")[1]))

    def processes(self, role: str | None = None) -> list[psutil.Process]:
        """The stack's processes, or those of one role."""
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

    def raw_objects(self) -> set[Path]:
        """The files in which the emulator keeps the raw bucket's objects."""
        return set((self.folder / ".local" / "data" / "s3").rglob("*.ndjson.gz"))


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for the end of ``process``; return what it printed since it was last read."""
    output, _ = process.communicate(timeout=_TIMEOUT_SECONDS)
    return output
