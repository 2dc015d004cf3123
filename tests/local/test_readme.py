"""Every command of the README and the docs, run as it stands there."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.state import ROOT
from tests.local.conftest import Lake
from tests.local.project import Project

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TEXT = "\n".join(page.read_text() for page in PAGES)

# These need an AWS account, take away what the commands after them need, or are this very test run.
# `local.deploy` runs the first two, and test_identities revokes everything.
ELSEWHERE = (
    *("cdk bootstrap", "cdk deploy -c env=dev", "make demo", "source .venv/bin/activate"),
    *("python -m ops.revoke --env dev --all --yes", "cdk destroy -c env=dev"),
    *("cdk drift -c env=dev", "cdk deploy -c env=dev --revert-drift"),
)
# These run until Ctrl-C, or for long; they are interrupted when they have printed something.
ENDLESS = ("--watch", "ops.tap")
# What these look for is not there, or what they judge is not healthy: that is an answer, too.
ANSWERS = {"ops.status": {0, 28}, "ops.trace": {0, 29}, "ops.verify": {0, 23}}
UP, DOWN = "python -m local up --detach", "python -m local down"


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines() if line))


def test_the_commands_left_to_others_are_in_the_docs() -> None:
    assert {*ELSEWHERE, UP, DOWN} <= set(commands())


@pytest.fixture
def project(lake: Lake, tmp_path: Path) -> Iterator[Project]:
    """A copy of the project in git; the commands bring a stack of its own up and down."""
    made = Project(tmp_path / "project")
    made.commit()
    yield made
    made.run("down")


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the files that the README's examples read."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    (folder / "readings.csv").write_text(
        "timestamp,temperature,humidity,battery,status\n1790000000123,21.5,40,99,ok\n"
    )
    (folder / "things.csv").write_text("thing_name\nold-sensor\nnew-sensor\n")
    return folder


def test_every_command_in_the_docs_works(project: Project, workplace: Path) -> None:
    def run(line: str) -> None:
        process = subprocess.Popen(
            ["bash", "-c", f"source '{ROOT}/.venv/bin/activate' && exec {line}"],
            cwd=ROOT if line.startswith(("make", "cdk")) else workplace,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(project.folder),
                "HOME": str(workplace),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        allowed = next((found for name, found in ANSWERS.items() if name in line), {0})
        started = ""
        if any(mark in line for mark in ENDLESS):
            allowed = allowed | {130}
            started = process.stdout.readline()
            process.send_signal(signal.SIGINT)
        output = started + process.communicate(timeout=300)[0]
        assert process.returncode in allowed, f"{line}: {process.returncode}\n{output}"

    for command in commands():
        # tests/unit/test_docs.py checks that the AWS CLI has them.
        if command in ELSEWHERE or command.startswith("aws "):
            continue
        if "batch.ndjson.gz" in command:
            shutil.copy(min(project.raw_objects()), workplace / "batch.ndjson.gz")
        run(command.replace("--env dev", "--env local"))
        if command == DOWN:
            run(UP)  # for the commands of the pages that follow
