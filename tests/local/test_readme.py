"""Every command of the README and the docs, run as it stands there."""

import re
import subprocess
from pathlib import Path

import pytest

from local.state import ROOT
from tests.local.conftest import Lake

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TEXT = "\n".join(page.read_text() for page in PAGES)

# These need an AWS account, would empty the stack that the tests share, or are this very test run.
# `local.deploy` runs the first two, and test_identities revokes everything.
ELSEWHERE = (
    *("cdk bootstrap", "cdk deploy -c env=dev", "make demo", "source .venv/bin/activate"),
    "aws cloudformation update-termination-protection --no-enable-termination-protection "
    "--stack-name telemetry-prod",
    "aws cloudformation delete-stack --stack-name telemetry-prod",
    *("python -m ops.revoke --env dev --all --yes", "cdk destroy -c env=dev"),
)
# In the stack that the tests share: it is up, and stays.
SHARED = ("python -m local up --detach", "python -m local down")


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines() if line))


def test_the_commands_left_to_others_are_in_the_docs() -> None:
    assert {*ELSEWHERE, *SHARED} <= set(commands())


@pytest.fixture(scope="module")
def workplace(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's examples read."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "readings.csv").write_text(
        "timestamp,temperature,humidity,battery,status\n1790000000123,21.5,40,99,ok\n"
    )
    (folder / "things.csv").write_text("thing_name\nold-sensor\nnew-sensor\n")
    (folder / "batch.ndjson.gz").write_bytes(
        next(iter(lake.objects("RawBucket", "raw/telemetry/").values()), b"")
    )
    return folder


def test_every_command_in_the_docs_works(lake: Lake, workplace: Path) -> None:
    for command in commands():
        if command in ELSEWHERE or command in SHARED:
            continue
        line = command.replace("--env dev", "--env local")
        done = subprocess.run(
            ["bash", "-c", f"source '{ROOT}/.venv/bin/activate' && {line}"],
            cwd=ROOT if line.startswith(("make", "cdk")) else workplace,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "HOME": str(workplace),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
