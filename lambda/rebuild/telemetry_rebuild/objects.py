"""The objects that the function lists, reads and writes; the only module that uses boto3."""

from telemetry_parser.objects import S3Objects
from telemetry_rebuild.manifest import ListedObject


class HistoryObjects(S3Objects):
    """Objects in Amazon S3.

    Needs ``s3:ListBucket`` for the prefixes of raw objects and manifests, ``s3:GetObject`` on
    them, ``s3:PutObject`` on daily objects and manifests, and ``s3:DeleteObject`` on daily objects.
    """

    def list(self, bucket: str, prefix: str) -> list[ListedObject]:
        """Every object under ``prefix``.

        Raises:
            ClientError: The bucket may not be listed.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [
            ListedObject(entry["Key"], entry["ETag"].strip('"'))
            for page in pages
            for entry in page.get("Contents", [])
        ]

    def get(self, bucket: str, key: str) -> bytes | None:
        """Read a small object; None if there is none.

        A listing tells so: to those who may list some prefixes only, S3 answers the same for an
        object that is missing and for one that they may not read.

        Raises:
            ClientError: It may not be read.
        """
        if key not in {found.key for found in self.list(bucket, key)}:
            return None
        with self.open(bucket, key) as body:
            return body.read(-1)
