"""The calls to S3, against botocore's own model of them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from telemetry_parser.objects import S3Objects

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = {"Bucket": "b", "Key": "k"}


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client(
        "s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def objects(stub: Stubber) -> S3Objects:
    return S3Objects(cast("S3Client", stub.client))


def test_an_object_is_streamed(stub: Stubber) -> None:
    body = StreamingBody(io.BytesIO(b"content"), 7)
    stub.add_response("get_object", {"Body": body}, KEY)
    with objects(stub).open("b", "k") as raw:
        assert raw.read(3) == b"con"
        assert raw.read(30) == b"tent"
        assert raw.read(30) == b""


def test_a_file_is_put_in_one_request(stub: Stubber, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    stub.add_response("put_object", {}, KEY | {"Body": ANY})
    objects(stub).put("b", "k", tmp_path / "file")


def test_an_object_is_removed_only_if_there_is_one(stub: Stubber) -> None:
    stub.add_response("delete_object", {}, KEY | {"IfMatch": "*"})
    objects(stub).remove("b", "k")


@pytest.mark.parametrize(("code", "status"), [("NoSuchKey", 404), ("PreconditionFailed", 412)])
def test_an_object_that_is_not_there_need_not_be_removed(
    code: str, status: int, stub: Stubber
) -> None:
    stub.add_client_error("delete_object", code, http_status_code=status)
    objects(stub).remove("b", "k")


def test_an_absence_that_s3_may_not_tell_is_made_sure_of(stub: Stubber) -> None:
    stub.add_client_error("delete_object", "AccessDenied", http_status_code=403)
    stub.add_response("delete_object", {}, KEY)
    objects(stub).remove("b", "k")


@pytest.mark.parametrize("status", [403, 500])
def test_a_removal_that_fails_is_an_error(status: int, stub: Stubber) -> None:
    for _ in range(2 if status == 403 else 1):
        stub.add_client_error("delete_object", "Refused", http_status_code=status)
    with pytest.raises(ClientError):
        objects(stub).remove("b", "k")
