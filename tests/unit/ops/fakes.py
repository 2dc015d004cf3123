"""An S3 with one bucket, and an environment that has it."""

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from botocore.exceptions import ClientError

from device.aws import AwsEnvironment
from tests.unit.device.fakes import ACCOUNT, REGION, Steps

RAW_BUCKET = "raw-bucket"
WRITTEN = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)


def client_error(operation: str, code: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(cast("Any", answer), operation)


class FakeS3:
    """One bucket. Each change is a step, at which the process may be killed."""

    def __init__(self, steps: Steps | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.steps = steps or Steps()
        self.puts: list[str] = []

    def get_paginator(self, operation: str) -> "FakeS3":
        assert operation == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str, **more: Any) -> Iterator[dict[str, Any]]:  # noqa: N803
        assert Bucket == RAW_BUCKET
        start = more.get("StartAfter", "")
        found = [key for key in sorted(self.objects) if key.startswith(Prefix) and key > start]
        if more.get("Delimiter"):
            rest = {key.removeprefix(Prefix).partition("/")[0] for key in found}
            yield {"CommonPrefixes": [{"Prefix": f"{Prefix}{name}/"} for name in sorted(rest)]}
            return
        if not found:
            yield {}
        for key in found:  # each on a page of its own
            size = len(self.objects[key])
            yield {"Contents": [{"Key": key, "Size": size, "LastModified": WRITTEN}]}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        assert Bucket == RAW_BUCKET
        if Key not in self.objects:
            raise client_error("GetObject", "NoSuchKey", 404)
        return {
            "Body": io.BytesIO(self.objects[Key]),
            "ETag": self._etag(Key),
            "LastModified": WRITTEN,
        }

    def put_object(
        self,
        *,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        assert Bucket == RAW_BUCKET
        self.steps.tick()
        if IfNoneMatch == "*" and Key in self.objects:
            raise client_error("PutObject", "PreconditionFailed", 412)
        self.objects[Key] = Body
        self.puts.append(Key)
        self.steps.tick()
        return {"ETag": self._etag(Key)}

    def delete_object(self, *, Bucket: str, Key: str, IfMatch: str | None = None) -> None:  # noqa: N803
        assert Bucket == RAW_BUCKET
        self.steps.tick()
        if IfMatch is not None and (Key not in self.objects or IfMatch != self._etag(Key)):
            raise client_error("DeleteObject", "PreconditionFailed", 412)
        self.objects.pop(Key, None)
        self.steps.tick()

    def _etag(self, key: str) -> str:
        return f'"{hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()}"'


class FakeCloudFormation:
    def describe_stacks(self, **_: str) -> dict[str, Any]:
        outputs = [{"OutputKey": "RawBucket", "OutputValue": RAW_BUCKET}]
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE", "Outputs": outputs}]}


class FakeSession:
    def __init__(self, clients: dict[str, Any]) -> None:
        self._clients = {"cloudformation": FakeCloudFormation(), **clients}

    def client(self, service: str) -> Any:
        return self._clients[service]


def environment(root: Path, **clients: Any) -> AwsEnvironment:
    return AwsEnvironment("dev", cast("Any", FakeSession(clients)), ACCOUNT, REGION, root)
