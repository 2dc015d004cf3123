"""A Glue catalog and a bucket of objects, as ``ops.scan`` uses them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from device.aws import AwsEnvironment
from tests.unit.ops.fakes import client_error

PARSED_BUCKET = "parsed-bucket"


class NotFoundError(Exception):
    pass


class FakeCatalog:
    """Tables by name: where they are, and by what they are divided. Views have no location."""

    exceptions = SimpleNamespace(EntityNotFoundException=NotFoundError)

    def __init__(self) -> None:
        by_arrival, by_day = ["dt", "hour"], ["day"]
        self.tables: dict[str, tuple[str, list[str]]] = {
            "telemetry": (f"s3://{PARSED_BUCKET}/parsed/telemetry/", by_arrival),
            "telemetry_rejected": (f"s3://{PARSED_BUCKET}/rejected/telemetry/", by_arrival),
            "telemetry_daily": (f"s3://{PARSED_BUCKET}/daily/telemetry", by_day),
            "flat": (f"s3://{PARSED_BUCKET}/flat/", []),
            "view": ("", []),
        }
        self.forbidden = False

    def get_table(self, *, DatabaseName: str, Name: str) -> dict[str, Any]:  # noqa: N803
        assert DatabaseName == "telemetry_dev"
        if self.forbidden:
            raise client_error("GetTable", "AccessDeniedException")
        if Name not in self.tables:
            raise NotFoundError
        location, keys = self.tables[Name]
        return {
            "Table": {
                "StorageDescriptor": {"Location": location},
                "PartitionKeys": [{"Name": key} for key in keys],
            }
        }


class FakeObjects:
    """Sizes by key, listed two to a page; ``listed`` counts what was returned."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.listed = 0
        self.requests = 0

    def get_paginator(self, operation: str) -> "FakeObjects":
        assert operation == "list_objects_v2"
        return self

    def paginate(
        self,
        *,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        StartAfter: str = "",  # noqa: N803
        Delimiter: str = "",  # noqa: N803
    ) -> Iterator[dict[str, Any]]:
        assert Bucket == PARSED_BUCKET
        keys = [key for key in sorted(self.sizes) if key.startswith(Prefix) and key > StartAfter]
        if Delimiter:
            self.requests += 1
            rest = {key.removeprefix(Prefix).partition("/")[0] for key in keys}
            yield {"CommonPrefixes": [{"Prefix": f"{Prefix}{name}/"} for name in sorted(rest)]}
            return
        for start in range(0, len(keys) or 1, 2):
            self.requests += 1
            page = keys[start : start + 2]
            self.listed += len(page)
            yield {"Contents": [{"Key": key, "Size": self.sizes[key]} for key in page]}


def environment(catalog: FakeCatalog, objects: FakeObjects) -> AwsEnvironment:
    """The environment dev, with these clients."""
    clients = {"glue": catalog, "s3": objects}
    return cast("AwsEnvironment", SimpleNamespace(name="dev", client=clients.__getitem__))
