"""The raw objects of a channel: find those of a time, and read their lines."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast
from urllib.parse import quote_plus

from device.aws import AwsEnvironment, explained, listed, stack_outputs

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_s3 import S3Client

# A batch is under the hour of its oldest message, and Firehose collects for 15 minutes at most.
# https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html
_EARLIER = timedelta(hours=1)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 64 * 1024
# Firehose accepts records of 1,000 KiB.
MOST_LINE_BYTES = 4 * 2**20

_RECOVERED = "recovered-"


@dataclass(frozen=True, slots=True)
class RawObject:
    """A raw object in a listing of the bucket.

    Attributes:
        size: In bytes, as stored.
    """

    bucket: str
    key: str
    size: int

    @property
    def hour(self) -> str:
        """The hour in its key, as ``hour_of`` makes it."""
        return "/".join(self.key.split("/")[2:4])

    @property
    def is_recovered(self) -> bool:
        """Whether ``ops.recover`` wrote it: its messages arrived before its hour."""
        return self.key.rpartition("/")[2].startswith(_RECOVERED)


def bucket_of(opened: AwsEnvironment) -> str:
    """The raw bucket of an environment.

    Raises:
        AwsError: The environment is not deployed, or AWS cannot be asked.
    """
    opened.check_stack()
    with explained(opened.name):
        return stack_outputs(opened.client("cloudformation"), opened.name)["RawBucket"]


def opened(s3: "S3Client", found: RawObject) -> io.RawIOBase:
    """Open the object for ``lines``."""
    body = s3.get_object(Bucket=found.bucket, Key=found.key)["Body"]
    return cast("io.RawIOBase", body)  # it is one in all that matters


def hour_of(moment: datetime) -> str:
    """The part of a key that names the UTC hour of arrival: ``dt=yyyy-MM-dd/hour=HH``."""
    return f"{moment:dt=%Y-%m-%d/hour=%H}"


def recovered_key(channel: str, moment: datetime, name: str) -> str:
    """The key of an object of recovered messages; ``moment`` is the time of the recovery."""
    return f"raw/{channel}/{hour_of(moment)}/{_RECOVERED}{name}.ndjson.gz"


def find(
    s3: "S3Client", bucket: str, channel: str, start: datetime, end: datetime
) -> Iterator[RawObject]:
    """Yield the objects that can hold messages of ``start`` to ``end``, the oldest hour first.

    An object may also hold messages before and after.
    """
    first = hour_of(max(start, _FIRST) - _EARLIER)
    last = hour_of(end - timedelta.resolution)
    prefix = f"raw/{channel}/"
    keys = {"Bucket": bucket, "Prefix": prefix, "StartAfter": f"{prefix}{first}/"}
    for entry in listed(s3, "list_objects_v2", "Contents", **keys):
        found = RawObject(bucket, entry["Key"], entry["Size"])
        if found.hour > last:
            break
        yield found


def event(bucket: str, key: str) -> str:
    """What S3 sends to the parser's queue for a new object."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}},
    }
    return json.dumps({"Records": [record]})


class DamagedObject(ValueError):  # noqa: N818  # reads as what happened
    """An object cannot be read to its end; the message says why."""


def lines(content: io.RawIOBase) -> Iterator[bytes]:
    r"""Yield the lines of an object, gzip or not, without their ``\n``; blank ones too.

    A line beyond ``MOST_LINE_BYTES`` is cut there.

    Raises:
        DamagedObject: The gzip is cut short or corrupt. All that could be read was yielded.
    """
    tail = b""
    try:
        for block in _blocks(content):
            first, *others = block.split(b"\n")
            tail += first[: MOST_LINE_BYTES - len(tail)]
            for other in others:
                yield tail
                tail = other[:MOST_LINE_BYTES]
    except (OSError, EOFError, zlib.error) as error:
        if tail:
            yield tail
        raise DamagedObject(f"expected whole gzip, got: {error}") from error
    if tail:
        yield tail


def _blocks(content: io.RawIOBase) -> Iterator[bytes]:
    source = io.BufferedReader(content, _BLOCK_BYTES)
    is_gzip = source.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    # read1, not read: it returns what came before the damage.
    read = gzip.GzipFile(fileobj=source).read1 if is_gzip else source.read1
    while block := read(_BLOCK_BYTES):
        yield block
