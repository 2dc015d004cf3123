"""The parser's asset: what is in it, for which machine, and that it is built once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stacks import parser_asset
from stacks.parser_asset import HOST, LAMBDA, AssetError, Target, build, size_in_bytes


def test_holds_the_parser_the_contracts_and_their_packages() -> None:
    asset = build(LAMBDA)
    for name in ("telemetry_parser/handler.py", "contracts/telemetry.json", "msgspec", "arro3"):
        assert (asset / name).exists(), name
    assert not (asset / "boto3").exists()  # the Lambda runtime has it


def test_native_code_is_for_lambdas_machine() -> None:
    libraries = [path for path in build(LAMBDA).rglob("*.so*") if path.is_file()]
    assert libraries
    for library in libraries:
        header = library.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert header[18:20] == b"\xb7\x00", f"{library} is not for aarch64"


def test_the_host_can_import_its_own_asset() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-S", "-c"),
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "import json, contracts, msgspec, arro3.io\n"
            "print(json.dumps([contracts.__file__, msgspec.__file__]))",
            str(build(HOST)),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert all(path.startswith(str(build(HOST))) for path in json.loads(done.stdout))


def test_is_not_built_again_while_nothing_changes() -> None:
    first = build(LAMBDA)
    before = first.stat().st_ino
    assert build(LAMBDA) == first
    assert first.stat().st_ino == before


def test_a_change_of_a_source_gives_another_asset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "contracts"
    sources.mkdir()
    (sources / "telemetry.json").write_text("{}")
    monkeypatch.setattr(parser_asset, "_ROOT", tmp_path)
    monkeypatch.setattr(parser_asset, "_SOURCES", (sources,))
    first = build(HOST)
    (sources / "telemetry.json").write_text("[]")
    assert build(HOST) != first


def test_is_far_smaller_than_lambda_allows() -> None:
    assert size_in_bytes(build(LAMBDA)) <= 60e6


def test_packages_that_cannot_be_had_end_synthesis_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser_asset, "_CACHE", tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(AssetError, match="run make setup"):
        build(Target("3.14", "aarch64-manylinux_2_34"))
    assert not list(tmp_path.glob("packages/*"))
