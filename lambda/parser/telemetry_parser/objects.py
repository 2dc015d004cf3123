"""The objects that the function reads and writes; the only module that uses boto3."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from telemetry_parser.raw import Readable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ABSENT = (404, 412)
_FORBIDDEN = 403


class S3Objects:
    """Objects in Amazon S3.

    Needs ``s3:GetObject`` on the raw objects, and ``s3:PutObject`` and ``s3:DeleteObject`` on the
    parsed and rejected ones; it neither reads nor lists what it wrote.
    """

    def __init__(self, client: "S3Client") -> None:
        self._client = client

    @contextmanager
    def open(self, bucket: str, key: str) -> Iterator[Readable]:
        """Stream an object; it is not held in memory.

        Raises:
            ClientError: It does not exist, or may not be read.
        """
        with closing(self._client.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            yield body

    def put(self, bucket: str, key: str, path: Path) -> None:
        """Write a file as an object, in one request: readers see all of it or nothing.

        Raises:
            ClientError: It may not be written.
        """
        with path.open("rb") as body:
            self._client.put_object(Bucket=bucket, Key=key, Body=body)

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object if there is one; in a versioned bucket its versions stay.

        The request has a condition, since deleting a missing object would add a delete marker
        each time.
        See https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html

        Raises:
            ClientError: It may not be removed.
        """
        try:
            self._client.delete_object(Bucket=bucket, Key=key, IfMatch="*")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == _FORBIDDEN:
                # S3 may also answer this for a missing object, as the role may not list the bucket.
                self._client.delete_object(Bucket=bucket, Key=key)
            elif status not in _ABSENT:
                raise
