"""ops.cost: the command."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cost.__main__ import main
from tests.unit.ops.cost.templates import template


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "Pipeline.template.json"
    path.write_text(json.dumps(template()))
    return path


def invoke(stack: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--env", "dev", "--template", str(stack), *arguments])


def test_prints_the_three_bills_side_by_side_and_their_totals(stack: Path) -> None:
    result = invoke(stack, "--devices", "1000", "--interval", "60", "--max-linger", "900")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "packed" in lines[0]
    assert "one per message, plain topic" in lines[0]
    (total,) = (line for line in lines if line.startswith("total"))
    packed, single, plain = (float(cell) for cell in total.replace("│", " ").split()[1:])
    assert packed < single < plain
    assert "16 readings per message" in result.stderr
    assert "us-east-1, 2026-" in result.stderr


def test_the_json_is_one_document_whose_items_are_the_total(stack: Path) -> None:
    result = invoke(stack, "--devices", "5", "--interval", "0.5", "--format", "json")
    record = json.loads(result.stdout)
    assert record["load"]["readings"] == 5 * 30 * 86_400 / 0.5
    for way in record["ways"].values():
        assert way["total_usd"] == pytest.approx(sum(item["usd"] for item in way["items"]))
        assert all(math.isfinite(item["usd"]) and item["usd"] >= 0 for item in way["items"])
        assert len(way["one_query"]) == 2


def test_says_so_when_packing_gains_nothing(stack: Path) -> None:
    result = invoke(stack, "--devices", "1", "--interval", "60")
    assert "packing gains nothing" in result.stderr
    assert "packing" not in result.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ["--devices", "0", "--interval", "1"],
        ["--devices", "1", "--interval", "0"],
        ["--devices", "1", "--interval", "-1"],
        ["--devices", "1", "--interval", "nan"],
        ["--devices", "1", "--interval", "inf"],
        ["--devices", "1", "--interval", "1", "--max-linger", "nan"],
        ["--devices", "1", "--interval", "1", "--bytes", "1"],
        ["--devices", "1", "--interval", "1", "--bytes", "131073"],
        ["--devices", "10000001", "--interval", "1"],
        ["--devices", "one", "--interval", "1"],
        ["--devices", "1"],
        ["--interval", "1"],
        ["--devices", "1", "--interval", "1", "--channel", "nope"],
        ["--devices", "1", "--interval", "1", "--template", "/nowhere"],
    ],
)
def test_a_load_that_cannot_be_is_a_usage_error(wrong: list[str], stack: Path) -> None:
    result = invoke(stack, *wrong)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    "load",
    [
        ["--devices", "1", "--interval", "2678400"],
        ["--devices", "10000000", "--interval", "0.001"],
        ["--devices", "1", "--interval", "0.001", "--bytes", "131072"],
        ["--devices", "10000000", "--interval", "2678400", "--bytes", "2", "--max-linger", "0"],
    ],
)
def test_the_largest_and_the_smallest_load_have_a_bill(load: list[str], stack: Path) -> None:
    result = invoke(stack, *load, "--format", "json")
    assert result.exit_code == 0
    totals = [way["total_usd"] for way in json.loads(result.stdout)["ways"].values()]
    assert all(math.isfinite(total) and total > 0 for total in totals)


def test_a_file_that_is_not_a_template_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    result = invoke(path, "--devices", "1", "--interval", "1")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_the_environment_has_to_be_the_templates_own(stack: Path) -> None:
    arguments = ["--env", "prod", "--template", str(stack), "--devices", "1", "--interval", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "make synth ENV=prod" in result.stderr
