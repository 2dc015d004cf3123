"""The calls to S3 that the rebuild adds, against botocore's own model of them."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from telemetry_rebuild.manifest import ListedObject
from telemetry_rebuild.objects import HistoryObjects

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


def objects(stub: Stubber) -> HistoryObjects:
    return HistoryObjects(cast("S3Client", stub.client))


def test_every_page_of_a_listing_is_read(stub: Stubber) -> None:
    first = {
        "IsTruncated": True,
        "NextContinuationToken": "more",
        "Contents": [{"Key": "p/1", "ETag": '"a"'}],
    }
    stub.add_response("list_objects_v2", first, {"Bucket": "b", "Prefix": "p/"})
    stub.add_response(
        "list_objects_v2",
        {"IsTruncated": False, "Contents": [{"Key": "p/2", "ETag": '"b"'}]},
        {"Bucket": "b", "Prefix": "p/", "ContinuationToken": "more"},
    )
    assert objects(stub).list("b", "p/") == [ListedObject("p/1", "a"), ListedObject("p/2", "b")]


def test_an_empty_prefix_lists_nothing(stub: Stubber) -> None:
    stub.add_response("list_objects_v2", {"IsTruncated": False}, {"Bucket": "b", "Prefix": "p/"})
    assert objects(stub).list("b", "p/") == []


LISTED = {"IsTruncated": False, "Contents": [{"Key": "k", "ETag": '"a"'}]}


def test_a_small_object_is_read(stub: Stubber) -> None:
    stub.add_response("list_objects_v2", LISTED, {"Bucket": "b", "Prefix": "k"})
    stub.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"content"), 7)}, KEY)
    assert objects(stub).get("b", "k") == b"content"


def test_an_object_that_is_missing_is_none(stub: Stubber) -> None:
    other = {"IsTruncated": False, "Contents": [{"Key": "k2", "ETag": '"a"'}]}
    stub.add_response("list_objects_v2", other, {"Bucket": "b", "Prefix": "k"})
    assert objects(stub).get("b", "k") is None


def test_an_object_that_may_not_be_read_is_an_error(stub: Stubber) -> None:
    stub.add_response("list_objects_v2", LISTED, {"Bucket": "b", "Prefix": "k"})
    stub.add_client_error("get_object", "AccessDenied", http_status_code=403)
    with pytest.raises(ClientError, match="AccessDenied"):
        objects(stub).get("b", "k")
