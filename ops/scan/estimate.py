"""Count the objects of the partitions that a statement reads, and what scanning them costs."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from contracts import names
from device import cli
from device.aws import AwsEnvironment, explained
from device.delivery import prices
from ops.scan.filters import Reference, references

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

# Listing so many takes some two seconds.
MOST_LISTED = 10_000


@dataclass(slots=True)
class Estimate:
    """What a statement reads at most: Athena skips the columns that it does not need.

    Attributes:
        objects: In the partitions that the filters leave.
        bytes: Size of these objects.
        is_complete: Whether all were counted; otherwise there are more.
        tables: Names of the tables that are read.
        advice: What would make it read less, one sentence each.
    """

    objects: int = 0
    bytes: int = 0
    is_complete: bool = True
    tables: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def usd(self) -> float:
        """What Athena charges, if it reads all of it."""
        return prices.query_usd(self.bytes)

    def text(self) -> str:
        """The estimate for people, on one line."""
        bound = "at most" if self.is_complete else "at least"
        what = f"{cli.counted(self.objects, 'object')}, {self.bytes / 1e6:,.2f} MB"
        cost = "at most" if self.is_complete else "more than"
        return (
            f"reads {bound} {what}, of {', '.join(self.tables)}; "
            f"costs {cost} ${self.usd:,.6f} (Athena, {prices.REGION})"
        )


def estimate(
    environment: AwsEnvironment, sql: str, most_listed: int = MOST_LISTED
) -> Estimate | None:
    """Count what ``sql`` reads; None if it reads no table of the environment.

    Args:
        environment: Its credentials need glue:GetTable, and s3:ListBucket on the tables' bucket.
        sql: One statement.
        most_listed: The listing stops after this many objects.

    Raises:
        NotUnderstoodError: The SQL cannot be read here.
        AwsError: AWS cannot be used, or does not permit it.
    """
    database = names.database_name(environment.name)
    found = Estimate()
    known: dict[str, _Table | None] = {}
    with explained(environment.name):
        glue, s3 = environment.client("glue"), environment.client("s3")
        for reference in references(sql, database):
            if reference.table not in known:
                known[reference.table] = _table(glue, database, reference.table)
            table = known[reference.table]
            if table is not None:
                _add(found, s3, table, reference, most_listed)
    return found if found.tables else None


@dataclass(frozen=True, slots=True)
class _Table:
    """Where a table's objects are, and by which columns they are divided."""

    name: str
    bucket: str
    prefix: str
    keys: tuple[str, ...]


def _table(glue: "GlueClient", database: str, name: str) -> _Table | None:
    """A table of S3 objects; None if there is none of that name, which Athena will say better."""
    try:
        found = glue.get_table(DatabaseName=database, Name=name)["Table"]
    except glue.exceptions.EntityNotFoundException:
        return None
    location = urlsplit(found.get("StorageDescriptor", {}).get("Location", ""))
    if location.scheme != "s3":  # a view
        return None
    keys = tuple(key["Name"] for key in found.get("PartitionKeys", []))
    prefix = location.path.lstrip("/")
    return _Table(name, location.netloc, prefix if prefix.endswith("/") else f"{prefix}/", keys)


def _add(
    total: Estimate, s3: "S3Client", table: _Table, reference: Reference, most_listed: int
) -> None:
    if table.name not in total.tables:
        total.tables.append(table.name)
    first = next(iter(table.keys), None)
    if first is not None and not reference.limits(first):
        total.advice.append(_advice(table.name, first, reference))
    for number, entry in enumerate(_entries(s3, table, reference)):
        if number >= most_listed:
            total.is_complete = False
            return
        if reference.may_read(_values(table, entry["Key"])):
            total.objects += 1
            total.bytes += entry["Size"]


def _advice(table: str, key: str, reference: Reference) -> str:
    if reference.mentions(key):
        return (
            f"{table}: the filter on {key} is none that this command understands, so all of it "
            f"is counted; a literal such as {key} >= '2026-11-25' is"
        )
    return (
        f"{table}: there is no filter on {key} in its WHERE, so all of it is read; "
        f"add one such as {key} >= '2026-11-25'"
    )


def _entries(s3: "S3Client", table: _Table, reference: Reference) -> Iterator[Any]:
    """List the objects from the first to the last of each run of partitions that are read."""
    if not table.keys:
        yield from _contents(s3, Bucket=table.bucket, Prefix=table.prefix)
        return
    partitions = [
        folder["Prefix"]
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=table.bucket, Prefix=table.prefix, Delimiter="/"
        )
        for folder in page.get("CommonPrefixes", [])
    ]
    is_read = {prefix: reference.may_read(_values(table, prefix)) for prefix in sorted(partitions)}
    for read, run in itertools.groupby(is_read, key=is_read.__getitem__):
        if read:
            yield from _between(s3, table, list(run))


def _between(s3: "S3Client", table: _Table, partitions: list[str]) -> Iterator[Any]:
    """List the objects of partitions that follow one another."""
    after = {"StartAfter": partitions[0]} if len(partitions) > 1 else {}
    prefix = table.prefix if len(partitions) > 1 else partitions[0]
    for entry in _contents(s3, Bucket=table.bucket, Prefix=prefix, **after):
        if entry["Key"] > partitions[-1] and not entry["Key"].startswith(partitions[-1]):
            return
        yield entry


def _contents(s3: "S3Client", **arguments: Any) -> Iterable[Any]:
    for page in s3.get_paginator("list_objects_v2").paginate(**arguments):
        yield from page.get("Contents", [])


def _values(table: _Table, key: str) -> dict[str, str]:
    """The values of a partition's columns, from the folders of a key: ``dt=…/hour=…/``."""
    folders = key.removeprefix(table.prefix).split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders)
    return {name.lower(): unquote(value) for name, _, value in pairs if name in table.keys}
