"""End to end, on a stack of its own: from a file of readings to a channel, and changes of it."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.local.conftest import wait_until
from tests.local.project import Project

ROWS = 40


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    yield made
    made.run("down")


def deploy(project: Project) -> None:
    project.commit()
    code, output = project.run("up", "--detach")
    assert code == 0, output


def replay(project: Project) -> dict[str, int]:
    """Make the tables of the channel again; return the rows of each."""
    now = datetime.now(UTC)
    start, end = now - timedelta(hours=1), now + timedelta(hours=1)
    hours = ("--from", f"{start:%Y-%m-%dT%H}", "--to", f"{end:%Y-%m-%dT%H}")
    project.module("ops.replay", "--env", "local", "--channel", "weather", *hours, "--yes")
    return {table: count(project, table) for table in ("", "_rejected", "_daily")}


def count(project: Project, table: str) -> int:
    sql = f"SELECT count(*) AS rows_ FROM weather{table}"
    answer = project.module("ops.query", "--env", "local", sql, "--format", "json")
    found: int = json.loads(answer)["rows_"]
    return found


def test_a_file_is_published_under_the_contract_that_was_inferred_from_it(
    project: Project, tmp_path: Path
) -> None:
    sample = tmp_path / "weather.csv"
    with sample.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "temperature", "status", "wind.speed", "raining"])
        for n in range(ROWS):
            status = "ok" if n % 2 else "fault"
            writer.writerow([f"2026-11-25 10:{n:02}:00Z", n / 2, status, n or "", "TRUE"])
    contract = project.folder / "contracts" / "weather.json"
    contract.write_text(project.module("ops.contract", "infer", str(sample)))
    deploy(project)
    local = ("--env", "local")
    project.module("device.provision", *local, "station")
    published = project.module(
        *("device.publish", *local, "--thing", "station", "--channel", "weather"),
        *("--file", str(sample), "--format", "json"),
    )
    assert json.loads(published)["acknowledged"] == ROWS

    def rows() -> bool:
        sql = "SELECT count(*) AS rows_, count(wind) AS speeds FROM weather"
        answer = project.module("ops.query", *local, sql, "--format", "json")
        return bool(json.loads(answer) == {"rows_": ROWS, "speeds": ROWS - 1})

    wait_until(rows, "every reading in the table")

    # Half of the temperatures no longer fit.
    document = json.loads(contract.read_text())
    document["properties"]["temperature"]["maximum"] = 9.75
    contract.write_text(json.dumps(document))
    check = ("ops.contract", "check", "weather", "--format", "json")
    found = json.loads(
        project.module(*check, *local, "--sample", "2020-01-01", "2100-01-01", status=24)
    )
    assert [(each["path"], each["kind"]) for each in found["changes"]] == [
        ("$.temperature", "narrowed")
    ]
    assert found["sample"]["old"] == {"accepted": ROWS, "rejected": 0}
    assert found["sample"]["new"] == {"accepted": ROWS // 2, "rejected": ROWS // 2}
    assert [each["path"] for each in found["sample"]["differences"]] == ["$.temperature"]

    # What was rejected under a contract comes back when the contract is relaxed.
    half = ROWS // 2
    deploy(project)
    wait_until(lambda: replay(project) == {"": half, "_rejected": half, "_daily": half}, "halves")
    document["properties"]["temperature"]["maximum"] = 100
    contract.write_text(json.dumps(document))
    deploy(project)
    wait_until(lambda: replay(project) == {"": ROWS, "_rejected": 0, "_daily": ROWS}, "all rows")
