"""ops.parse: the same parser over files on disk."""

import gzip
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from ops.parse import main
from tests.unit.parser.examples import GOOD, line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(*arguments: str, contract: str = "telemetry") -> Result:
    return CliRunner().invoke(main, [*arguments, "--contract", contract, "--out", "out"])


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "out").iterdir()}


def batch(name: str, *lines: bytes) -> str:
    Path(name).write_bytes(gzip.compress(b"\n".join(lines)))
    return name


def test_rows_and_rejected_lines_are_written_beside_each_other(folder: Path) -> None:
    done = parse(batch("a.ndjson.gz", line([GOOD, {}]), b"bad"))
    assert done.exit_code == 0, done.output
    assert files(folder) == {"a.parquet", "a.rejected.ndjson.gz"}
    (row,) = pq.read_table("out/a.parquet").to_pylist()
    assert row["raw_key"] == "a.ndjson.gz"
    rejected = gzip.decompress(Path("out/a.rejected.ndjson.gz").read_bytes()).splitlines()
    assert [json.loads(one)["raw_line"] for one in rejected] == [1, 2]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_a_file_whose_name_is_not_utf_8_is_parsed(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.ndjson.gz")
    done = parse(batch(name, line([GOOD, {}])))
    assert done.exit_code == 0, done.output
    (output,) = (folder / "out").glob("*.parquet")
    (row,) = pq.read_table(io.BytesIO(output.read_bytes())).to_pylist()
    assert row["raw_key"] == r"caf\udce9.ndjson.gz"


@pytest.mark.usefixtures("folder")
def test_the_summary_is_a_table_or_json() -> None:
    batch("a.ndjson.gz", line([GOOD, {}]), b"bad")
    batch("b.ndjson.gz", line(GOOD))
    table = parse("a.ndjson.gz", "b.ndjson.gz")
    assert "a.ndjson.gz" in table.stdout
    assert "$.timestamp" in table.stdout
    assert "required field is missing" in table.stdout
    summary: dict[str, Any] = json.loads(
        parse("a.ndjson.gz", "b.ndjson.gz", "--format", "json").stdout
    )
    one_by_one = summary.pop("files")
    assert summary.pop("reasons") == [
        {"reason": "required field is missing", "path": "$.timestamp", "readings": 1},
        {"reason": "not an envelope: expected one JSON object", "path": None, "readings": 1},
    ]
    assert summary == {"messages": 3, "readings": 2, "rejected": 2, "failed_files": 0}
    assert [result["lines"] for result in one_by_one] == [2, 1]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("x.ndjson.gz", "x"), ("x.ndjson", "x"), ("x.gz", "x"), ("x.v1.log", "x.v1.log")],
)
def test_outputs_are_named_after_the_file(folder: Path, name: str, stem: str) -> None:
    Path(name).write_bytes(line(GOOD))
    assert parse(name).exit_code == 0
    assert files(folder) == {f"{stem}.parquet"}


def test_two_files_whose_outputs_have_one_name_are_refused_up_front(folder: Path) -> None:
    Path("sub").mkdir()
    done = parse(batch("a.ndjson.gz", line(GOOD)), batch("sub/a.gz", line(GOOD)))
    assert done.exit_code == 2
    assert "a.ndjson.gz, sub/a.gz" in done.stderr
    assert not (folder / "out").exists()


def test_a_file_that_cannot_be_read_is_an_error_and_the_others_are_parsed(folder: Path) -> None:
    batch("cut.ndjson.gz", line(GOOD))
    Path("cut.ndjson.gz").write_bytes(Path("cut.ndjson.gz").read_bytes()[:-3])
    Path("directory.gz").mkdir()
    done = parse("missing.gz", "cut.ndjson.gz", "directory.gz", batch("good.gz", line(GOOD)))
    assert done.exit_code == 22
    assert done.stderr.splitlines() == [
        "error: missing.gz: No such file or directory",
        "error: cut.ndjson.gz: expected whole gzip, got: Compressed file ended before the "
        "end-of-stream marker was reached",
        "error: directory.gz: Is a directory",
    ]
    assert files(folder) == {"good.parquet"}


def test_outputs_of_an_earlier_run_are_replaced_or_removed(folder: Path) -> None:
    parse(batch("a.gz", line(GOOD), b"bad"))
    parse(batch("a.gz", line(GOOD)))
    assert files(folder) == {"a.parquet"}
    parse(batch("a.gz", b"bad"))
    assert files(folder) == {"a.rejected.ndjson.gz"}


def test_outputs_of_an_earlier_run_survive_a_file_that_cannot_be_read(folder: Path) -> None:
    parse(batch("a.gz", line(GOOD), b"bad"))
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    Path("a.gz").write_bytes(Path("a.gz").read_bytes()[:-3])
    assert parse("a.gz").exit_code == 22
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before


@pytest.mark.usefixtures("folder")
def test_a_contract_may_be_a_file() -> None:
    document = {"type": "object", "properties": {"v": {"type": "integer"}}}
    Path("mine.json").write_text(json.dumps(document))
    batch("a.gz", line({"v": 1}, topic="dt/dev/thing-1/mine"))
    assert parse("a.gz", contract="mine.json").exit_code == 0
    assert pq.read_table("out/a.parquet")["v"].to_pylist() == [1]


@pytest.mark.parametrize("contract", ["nosuch", "nosuch.json", "broken.json"])
@pytest.mark.usefixtures("folder")
def test_a_contract_that_is_none_is_one_line(contract: str) -> None:
    Path("broken.json").write_text("{")
    done = parse(batch("a.gz", line(GOOD)), contract=contract)
    assert done.exit_code == 2
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(folder: Path) -> None:
    (folder / "out").mkdir(mode=0o500)
    assert parse(batch("a.gz", line(GOOD))).exit_code == 22
