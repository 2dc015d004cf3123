"""What is said of a cdk.json that is not as it must be."""

import json
from pathlib import Path

import pytest

from device import environments
from device.errors import AwsError, ExitStatus


def settings_of_dev(root: Path, content: bytes) -> object:
    (root / "cdk.json").write_bytes(content)
    return environments.settings_of("dev", root)


def with_block(block: object) -> bytes:
    return json.dumps({"context": {"environments": {"dev": block}}}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"garbage", "no JSON: Expecting value", id="no JSON"),
        pytest.param(b"\xff\xfe{", "not UTF-8", id="no text"),
        pytest.param(b"[]", "other JSON", id="no object"),
        pytest.param(b'{"context": {}}', "other JSON", id="no environments"),
        pytest.param(with_block(None), "context.environments.dev, got null", id="no block"),
        pytest.param(with_block({"region": 5}), "dev.region, got 5", id="region"),
        pytest.param(with_block({"account": 7}), "dev.account, got 7", id="account"),
    ],
)
def test_a_wrong_file_is_one_sentence_without_python(
    content: bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(AwsError) as raised:
        settings_of_dev(tmp_path, content)
    assert said in str(raised.value)
    assert "Error(" not in str(raised.value)
    assert raised.value.status is ExitStatus.ENVIRONMENT


def test_a_folder_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cdk.json").mkdir()
    with pytest.raises(AwsError, match=r"got Is a directory$"):
        environments.settings_of("dev", tmp_path)


def test_account_and_region_are_optional(tmp_path: Path) -> None:
    assert settings_of_dev(tmp_path, with_block({})) == {}
