"""The functions' assets: what is in them, for which machine, and that they are built once."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stacks import parser_asset
from stacks.parser_asset import (
    HOOK,
    HOST,
    LAMBDA,
    PARSER,
    REBUILD,
    AssetError,
    Function,
    Target,
    build,
    unzipped_bytes,
)

WITH_PACKAGES = pytest.mark.parametrize(
    "function", [pytest.param(PARSER, id="parser"), pytest.param(REBUILD, id="rebuild")]
)


def names_in(asset: Path) -> set[str]:
    with zipfile.ZipFile(asset) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


@WITH_PACKAGES
def test_holds_the_parser_the_contracts_and_their_packages(function: Function) -> None:
    found = names_in(build(function, LAMBDA))
    assert {"telemetry_parser/handler.py", "contracts/telemetry.json"} <= found
    packages = {name.partition("/")[0] for name in found}
    assert {"msgspec", "arro3", "aws_lambda_powertools"} <= packages
    assert "boto3" not in packages  # the Lambda runtime has it
    rebuilds = {"telemetry_rebuild", "duckdb"}
    assert packages & rebuilds == (rebuilds if function is REBUILD else set())


@WITH_PACKAGES
def test_holds_no_notes_of_the_installer_about_the_builder(function: Function) -> None:
    found = names_in(build(function, LAMBDA))
    assert {name for name in found if name.endswith(("/RECORD", "/INSTALLER"))} == set()


def test_the_hooks_asset_holds_its_package_alone() -> None:
    assert names_in(build(HOOK, LAMBDA)) == {
        "provisioning_hook/__init__.py",
        "provisioning_hook/handler.py",
    }


@WITH_PACKAGES
def test_native_code_is_for_lambdas_machine(function: Function) -> None:
    with zipfile.ZipFile(build(function, LAMBDA)) as archive:
        libraries = [name for name in archive.namelist() if ".so" in name]
        assert libraries
        for library in libraries:
            header = archive.read(library)[:20]
            assert header[:4] == b"\x7fELF"
            assert header[18:20] == b"\xb7\x00", f"{library} is not for aarch64"


def test_everyone_may_read_it_whatever_the_builders_umask() -> None:
    with zipfile.ZipFile(build(PARSER, LAMBDA)) as archive:
        assert {info.external_attr >> 16 & 0o777 for info in archive.infolist()} == {0o644}


@WITH_PACKAGES
def test_the_host_can_import_its_own_asset(function: Function, tmp_path: Path) -> None:
    with zipfile.ZipFile(build(function, HOST)) as archive:
        archive.extractall(tmp_path)
    module = "telemetry_rebuild.sorting" if function is REBUILD else "telemetry_parser.parser"
    done = subprocess.run(
        [
            *(sys.executable, "-S", "-c"),
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            f"import json, contracts, msgspec, arro3.io, {module}\n"
            "print(json.dumps([contracts.__file__, msgspec.__file__]))",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert all(path.startswith(str(tmp_path)) for path in json.loads(done.stdout))


def test_an_asset_makes_manifests_of_the_same_version_as_this_checkout(tmp_path: Path) -> None:
    with zipfile.ZipFile(build(REBUILD, HOST)) as archive:
        archive.extractall(tmp_path)
    code = "import telemetry_rebuild.manifest as m; print(m._code_hash())"
    here, there = (
        subprocess.run(
            [sys.executable, *options, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=folder,
        ).stdout
        for options, folder in (([], parser_asset._ROOT), (["-S"], tmp_path))
    )
    assert here == there, "otherwise ops.verify could not compare what the function made"


def test_is_not_built_again_while_nothing_changes() -> None:
    first = build(PARSER, LAMBDA)
    before = first.stat()
    assert build(PARSER, LAMBDA) == first
    assert first.stat().st_ino == before.st_ino
    assert first.stat().st_mtime_ns == before.st_mtime_ns


def test_every_builder_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    for folder, umask in (("first", 0o022), ("another/and longer", 0o077)):
        root = tmp_path / folder
        for source in ("contracts", "lambda"):
            shutil.copytree(parser_asset._ROOT / source, root / source)
        (root / "contracts" / "__pycache__").mkdir(exist_ok=True)
        (root / "contracts" / "__pycache__" / f"{umask}.pyc").write_bytes(b"compiled here")
        with monkeypatch.context() as patch:
            patch.setattr(parser_asset, "_ROOT", root)
            patch.setattr(parser_asset, "_CACHE", root / "cache")
            before = os.umask(umask)
            try:
                built.append([build(function, LAMBDA) for function in (PARSER, REBUILD, HOOK)])
            finally:
                os.umask(before)
    for first, second in zip(*built, strict=True):
        assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(built[0][0]) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_a_change_of_a_source_gives_another_asset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = Function(("contracts",))
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "telemetry.json").write_text("{}")
    monkeypatch.setattr(parser_asset, "_ROOT", tmp_path)
    monkeypatch.setattr(parser_asset, "_CACHE", tmp_path / "cache")
    first = build(function, HOST)
    (tmp_path / "contracts" / "telemetry.json").write_text("[]")
    assert build(function, HOST) != first


def test_the_rebuilds_packages_are_the_ones_that_the_tests_run_with() -> None:
    def versions(lock: str) -> set[str]:
        lines = (parser_asset._ROOT / lock).read_text().splitlines()
        return {line.split()[0] for line in lines if "==" in line}

    assert REBUILD.lock is not None
    assert versions(REBUILD.lock) <= versions("requirements-dev.txt")


@pytest.mark.parametrize(("function", "megabytes"), [(PARSER, 60), (REBUILD, 130)])
def test_is_far_smaller_than_lambda_allows(function: Function, megabytes: float) -> None:
    assert unzipped_bytes(build(function, LAMBDA)) <= megabytes * 1e6


def test_an_interrupted_build_leaves_nothing_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser_asset, "_CACHE", tmp_path)
    assert PARSER.lock is not None
    packages = parser_asset._packages(PARSER.lock, HOST)

    class Interrupted(Exception):  # noqa: N818
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", interrupt)
        with pytest.raises(Interrupted):
            build(PARSER, HOST)
    assert list((tmp_path / "assets").iterdir()) == []
    shutil.rmtree(packages)


def test_packages_that_cannot_be_had_end_synthesis_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser_asset, "_CACHE", tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(AssetError, match="run make setup") as raised:
        build(PARSER, Target("3.14", "aarch64-manylinux_2_34"))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("packages/*"))
