"""The objects that the function lists, reads and writes; the only module that uses boto3."""

from botocore.exceptions import ClientError

from telemetry_parser.objects import S3Objects
from telemetry_rebuild.manifest import RawObject

_ABSENT = 404


class HistoryObjects(S3Objects):
    """Objects in Amazon S3.

    Needs ``s3:GetObject`` on the raw objects and the manifests, ``s3:ListBucket`` on the raw
    bucket, and on the parsed bucket's manifests, which lets S3 say that one is missing; and
    ``s3:PutObject`` and ``s3:DeleteObject`` on daily objects and manifests.
    """

    def list(self, bucket: str, prefix: str) -> list[RawObject]:
        """Every object under ``prefix``.

        Raises:
            ClientError: The bucket may not be listed.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [
            RawObject(entry["Key"], entry["ETag"].strip('"'))
            for page in pages
            for entry in page.get("Contents", [])
        ]

    def get(self, bucket: str, key: str) -> bytes | None:
        """Read a small object; None if there is none.

        Raises:
            ClientError: It may not be read.
        """
        try:
            with self.open(bucket, key) as body:
                return body.read(-1)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == _ABSENT:
                return None
            raise
