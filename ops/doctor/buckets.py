"""Recent objects in the buckets."""

import base64
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from device import aws
from ops.doctor.context import Context

# Limits of the objects and of the bytes of each that are read: a search must end in any fleet.
MOST_OBJECTS = 50
_MOST_BYTES = 16 * 2**20

_RECENT_HOURS = 24


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in a listing of a bucket."""

    bucket: str
    key: str
    modified: datetime

    @property
    def url(self) -> str:
        """The object's address for the AWS CLI."""
        return f"s3://{self.bucket}/{self.key}"


def newest(context: Context, bucket: str, prefix: str) -> Iterator[ListedObject]:
    """Objects of the last 24 hours under ``prefix{dt=…/hour=…/}``, the newest hour first."""
    now = datetime.now(UTC)
    for hours in range(_RECENT_HOURS + 1):
        hour = f"{now - timedelta(hours=hours):dt=%Y-%m-%d/hour=%H}"
        yield from _newest_first(listed(context, bucket, f"{prefix}{hour}/"))


def newest_of_days(context: Context, bucket: str, prefix: str) -> Iterator[ListedObject]:
    """Objects of today and yesterday under ``prefix{dt=…/}``, the newest first."""
    for days in (0, 1):
        day = f"{datetime.now(UTC) - timedelta(days=days):dt=%Y-%m-%d}"
        yield from _newest_first(listed(context, bucket, f"{prefix}{day}/"))


def _newest_first(found: Iterator[ListedObject]) -> list[ListedObject]:
    return sorted(found, key=lambda one: one.modified, reverse=True)


def listed(context: Context, bucket: str, prefix: str) -> Iterator[ListedObject]:
    """Every object under ``prefix``."""
    s3 = context.client("s3")
    for entry in aws.listed(s3, "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix):
        yield ListedObject(bucket, entry["Key"], entry["LastModified"])


def body(context: Context, found: ListedObject, most_bytes: int = 64 * 2**20) -> bytes:
    """The content of the object, at most its first ``most_bytes``."""
    answer = context.client("s3").get_object(Bucket=found.bucket, Key=found.key)
    content: bytes = answer["Body"].read(most_bytes)
    return content


def exists(context: Context, bucket: str, key: str) -> bool:
    """Whether there is such an object."""
    try:
        context.client("s3").head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def json_lines(context: Context, found: ListedObject) -> Iterator[dict[str, Any]]:
    """Yield the JSON documents of a gzip object, one per line; nothing if it is not gzip."""
    content = gzip.GzipFile(fileobj=io.BytesIO(body(context, found, _MOST_BYTES)))
    try:
        lines = content.read(_MOST_BYTES).split(b"\n")
    except (OSError, EOFError, zlib.error):
        return
    # The last one may be cut; a whole file ends with a line feed.
    yield from map(json.loads, lines[:-1])


def find_message(
    context: Context, topic: str, payload: bytes, *, since: float, seen: set[str]
) -> tuple[ListedObject, int] | None:
    """Find the raw object with a message, and its 1-based line; None if there is none yet.

    Args:
        context: The context, whose raw bucket is searched.
        topic: The topic of the message, without Basic Ingest's prefix.
        payload: The payload of the message.
        since: When the message was published, in seconds since the Unix epoch.
        seen: Keys of objects to skip; the search adds the objects that it reads.
    """
    for candidate in newest(context, context.deployed.raw_bucket, f"raw/{context.channel}/"):
        # The clocks of S3 and of this machine differ by less than a minute.
        if candidate.modified.timestamp() < since - 60:
            break
        if candidate.key not in seen:
            seen.add(candidate.key)
            line = _line_of(body(context, candidate), topic, payload)
            if line is not None:
                return candidate, line
    return None


def _line_of(content: bytes, topic: str, payload: bytes) -> int | None:
    expected = base64.b64encode(payload)
    try:
        lines = gzip.decompress(content).split(b"\n")
    except (OSError, EOFError, zlib.error):  # not written by Firehose
        return None
    for number, line in enumerate(lines, 1):
        if expected in line and json.loads(line)["topic"] == topic:
            return number
    return None
