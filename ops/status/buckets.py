"""List a bucket with bounded work: the last hours of a hop, and what is pending."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from device.aws import listed
from ops.raw_objects import hour_of

# A LIST returns 1,000 keys. Firehose writes one object a minute, more only beyond 64 MiB a minute.
_MOST_OF_AN_HOUR = 5000
_MOST_PENDING = 1000
_MOST_FOLDERS = 20

# An object is under the hour of its oldest message: one of the last hour may be two prefixes back.
_HOURS_BACK = 2


@dataclass(frozen=True, slots=True)
class Found:
    """An object in a listing.

    Attributes:
        size: In bytes.
    """

    key: str
    written_at: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects under some prefixes.

    Attributes:
        capped: Listing stopped at its limit, so there may be more.
    """

    objects: tuple[Found, ...]
    capped: bool = False


def recent(s3: Any, bucket: str, prefix: str, now: datetime) -> Listing:
    """The objects under ``prefix`` of the last hours; if there are none, of the newest hour."""
    found: list[Found] = []
    capped = False
    for back in range(_HOURS_BACK, -1, -1):
        hour = hour_of(now - timedelta(hours=back))
        listing = first(s3, bucket, f"{prefix}{hour}/", _MOST_OF_AN_HOUR)
        found += listing.objects
        capped |= listing.capped
    return Listing(tuple(found), capped) if found else _newest_hour(s3, bucket, prefix)


def _newest_hour(s3: Any, bucket: str, prefix: str) -> Listing:
    for _level in ("dt", "hour"):
        below = list(folders(s3, bucket, prefix, most=None))
        if not below:
            return Listing(())
        prefix = below[-1]
    # These are older than an hour: only the age of the newest one is shown.
    return Listing(first(s3, bucket, prefix, _MOST_OF_AN_HOUR).objects)


def first(s3: Any, bucket: str, prefix: str, most: int = _MOST_PENDING) -> Listing:
    """The first objects under ``prefix``."""
    entries = listed(
        s3,
        "list_objects_v2",
        "Contents",
        Bucket=bucket,
        Prefix=prefix,
        PaginationConfig={"MaxItems": most + 1},
    )
    found = [Found(each["Key"], each["LastModified"], each["Size"]) for each in entries]
    return Listing(tuple(found[:most]), len(found) > most)


def folders(s3: Any, bucket: str, prefix: str, most: int | None = _MOST_FOLDERS) -> Iterator[str]:
    """The common prefixes one level below ``prefix``, up to ``most``."""
    entries = listed(
        s3, "list_objects_v2", "CommonPrefixes", Bucket=bucket, Prefix=prefix, Delimiter="/"
    )
    return (each["Prefix"] for each in itertools.islice(entries, most))
