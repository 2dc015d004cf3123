"""Follow the new objects of one hop: at most one LIST per second, and GETs of new objects only."""

from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ops import parsed_rows, raw_objects
from ops.parsed_rows import NotParquet
from ops.raw_objects import DamagedObject, RawObject, hour_of
from ops.tap import messages
from ops.tap.messages import Reader, Tapped

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_s3 import S3Client

# Objects of the last minute, which is one batch, are shown at the start.
_BEFORE = timedelta(minutes=1)
# Keys sort by second and then at random, so each LIST begins some keys back.
_KEYS_BACK = 50
# Each fifth LIST is of the hour before, where late batches land.
_PREVIOUS_HOUR_EVERY = 5
_MOST_OBJECTS = 20  # per LIST
_MOST_LINES = 200  # per object
_MOST_PARQUET_BYTES = 64 * 2**20


@dataclass
class _Hour:
    """What is known of one hour's prefix."""

    known: set[str] = field(default_factory=set)
    ordered: list[str] = field(default_factory=list)

    @property
    def start_after(self) -> str:
        return self.ordered[-_KEYS_BACK] if len(self.ordered) >= _KEYS_BACK else ""

    def add(self, key: str) -> None:
        self.known.add(key)
        insort(self.ordered, key)


class Follower:
    """Reads the new objects of one hop.

    Args:
        s3: A client.
        bucket: Where the hop's objects are.
        hop: ``message``, ``raw``, ``parsed`` or ``rejected``; the first two read ``raw/``.
        channel: The contract's name.
        reader: Of the channel.
        started: When following began.
        notice: Called with a line about what was left out.
    """

    def __init__(
        self,
        s3: "S3Client",
        bucket: str,
        *,
        hop: str,
        channel: str,
        reader: Reader,
        started: datetime,
        notice: Callable[[str], None],
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._hop = hop
        self._prefix = f"{'raw' if hop == 'message' else hop}/{channel}/"
        self._reader = reader
        self._since = started - _BEFORE
        self._notice = notice
        self._hours: dict[str, _Hour] = {}
        self._polls = 0

    def poll(self, now: datetime) -> Iterator[Tapped]:
        """Send one LIST, and yield what the new objects hold. Call it once a second."""
        back = 1 if self._polls % _PREVIOUS_HOUR_EVERY == 1 else 0
        self._polls += 1
        name = hour_of(now - timedelta(hours=back))
        known = self._hours.setdefault(name, _Hour())
        self._hours = dict(list(self._hours.items())[-3:])
        prefix = f"{self._prefix}{name}/"
        listed = self._s3.list_objects_v2(
            Bucket=self._bucket, Prefix=prefix, StartAfter=known.start_after or prefix
        )
        new = []
        for entry in listed.get("Contents", ()):
            if entry["Key"] not in known.known:
                known.add(entry["Key"])
                if entry["LastModified"] >= self._since:
                    new.append(entry)
        new.sort(key=lambda entry: entry["LastModified"])
        if len(new) > _MOST_OBJECTS:
            self._notice(
                f"a sample: {len(new) - _MOST_OBJECTS:,} of {len(new):,} new objects are not shown"
            )
        for entry in new[-_MOST_OBJECTS:]:
            yield from self._read(RawObject(self._bucket, entry["Key"], entry["Size"]))

    def _read(self, found: RawObject) -> Iterator[Tapped]:
        try:
            for number, each in enumerate(self._entries(found), 1):
                if number > _MOST_LINES:
                    self._notice(f"a sample: the first {_MOST_LINES} of {found.key}")
                    return
                yield each
        except (DamagedObject, NotParquet) as damage:
            self._notice(f"{found.key}: {damage}")
        except ClientError as error:  # removed, as it was parsed again
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise

    def _entries(self, found: RawObject) -> Iterator[Tapped]:
        if self._hop == "parsed":
            yield from self._rows(found)
            return
        for number, line in enumerate(raw_objects.lines(raw_objects.opened(self._s3, found)), 1):
            if not line.strip():
                continue
            if self._hop == "rejected":
                yield messages.rejected(line)
            else:
                yield self._reader.raw_line(self._hop, line, found.key, number)

    def _rows(self, found: RawObject) -> Iterator[Tapped]:
        if found.size > _MOST_PARQUET_BYTES:
            self._notice(f"{found.key} is too large to be shown: {found.size:,} bytes")
            return
        for batch in parsed_rows.batches(raw_objects.opened(self._s3, found).read()):
            for place in range(batch.num_rows):
                yield messages.row(parsed_rows.row(batch, place))
