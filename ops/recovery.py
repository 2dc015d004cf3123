"""Bring undelivered messages back into the raw bucket; killed at any step, nothing is lost.

A batch of source objects becomes one raw object. Before it is written, a journal object names it
and its sources: ``recovering/{channel}.json``. A run that finds a journal completes that batch, so
a repetition after a kill writes the same object, although its hour has passed, and never the same
message twice. A source is removed only after all its messages were read in the new object.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from device.aws import in_threads, listed
from device.errors import AwsError
from ops import raw_objects, undelivered
from ops.undelivered import Content, NotUnderstood

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_s3 import S3Client

# Bounds of one batch: its memory, and its time.
_MOST_BYTES = 64 * 2**20
_MOST_SOURCES = 5000

_MISSING = {"NoSuchKey", "404"}
_EXISTS = {"PreconditionFailed", "ConditionalRequestConflict"}


@dataclass(frozen=True, slots=True)
class Source:
    """An object with messages that were not delivered.

    Attributes:
        size: In bytes.
        written_at: When AWS wrote it.
    """

    key: str
    size: int
    written_at: datetime

    @property
    def kind(self) -> str:
        """First part of its key: ``undelivered`` or ``failed``."""
        return self.key.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Recovered:
    """A raw object that was written.

    Attributes:
        key: Its key.
        messages: How many it holds.
        sources: How many objects were removed.
    """

    key: str
    messages: int
    sources: int


@dataclass(frozen=True, slots=True)
class _Journal:
    """A batch that is being recovered.

    Attributes:
        etag: Of the journal object.
    """

    target: str
    sources: tuple[str, ...]
    etag: str


@dataclass
class Recovery:
    """The recovery of one channel.

    Attributes:
        s3: A client.
        bucket: The raw bucket.
        channel: Name of the contract.
        clock: The time, for the keys of new objects.
        not_understood: Reason why a source stays, by key.
    """

    s3: "S3Client"
    bucket: str
    channel: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    not_understood: dict[str, str] = field(default_factory=dict)

    def sources(self) -> list[Source]:
        """List what was not delivered, in the order of the keys."""
        prefixes = [f"undelivered/{self.channel}/"]
        types = self._list("CommonPrefixes", Prefix="failed/", Delimiter="/")
        prefixes += [f"{entry['Prefix']}{self.channel}/" for entry in types]
        found = [
            Source(entry["Key"], entry["Size"], entry["LastModified"])
            for prefix in prefixes
            for entry in self._list("Contents", Prefix=prefix)
        ]
        return sorted(found, key=lambda source: source.key)

    def _list(self, key: str, **arguments: str) -> Iterator[Any]:
        return listed(self.s3, "list_objects_v2", key, Bucket=self.bucket, **arguments)

    def contents(self, sources: Iterable[Source]) -> Iterator[tuple[str, Content]]:
        """Read sources; skip those that are gone, and note those that are not understood."""
        for batch in _batches(sources):
            yield from self._contents([source.key for source in batch])

    def _contents(self, keys: Sequence[str]) -> Iterator[tuple[str, Content]]:
        for key, body in zip(keys, in_threads(self._get, keys), strict=True):
            if body is None:
                continue
            try:
                yield key, undelivered.read(key, *body)
            except NotUnderstood as reason:
                self.not_understood[key] = str(reason)

    def recover(self, sources: Sequence[Source]) -> Iterator[Recovered]:
        """Recover ``sources``, batch by batch; first the batch of a run that was interrupted.

        Raises:
            AwsError: A message is not in the new object, or another run is at work.
        """
        journal = self.interrupted()
        if journal is not None:
            yield from self._complete(journal, dict(self._contents(journal.sources)))
            left = set(self.sources())
            sources = [source for source in sources if source in left]
        for batch in _batches(sources):
            found = dict(self._contents([source.key for source in batch]))
            if found:
                yield from self._complete(self._begin(list(found)), found)

    def interrupted(self) -> _Journal | None:
        """The journal of a run that was interrupted; None if there is none.

        Raises:
            AwsError: The journal is damaged.
        """
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=self._journal_key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        found = _journal_of(answer["Body"].read(), self.channel)
        if found is None:
            raise AwsError(
                f"expected a journal of a recovery in s3://{self.bucket}/{self._journal_key}, "
                "got something else",
                remedy="delete that object",
            )
        return _Journal(*found, answer["ETag"])

    @property
    def _journal_key(self) -> str:
        return f"recovering/{self.channel}.json"

    def _begin(self, keys: list[str]) -> _Journal:
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
        target = raw_objects.recovered_key(self.channel, self.clock(), name)
        body = json.dumps({"target": target, "sources": keys}).encode()
        try:
            answer = self.s3.put_object(
                Bucket=self.bucket, Key=self._journal_key, Body=body, IfNoneMatch="*"
            )
        except ClientError as error:
            if _code(error) not in _EXISTS:
                raise
            raise AwsError(
                f"another run recovers {self.channel} at this moment", remedy="run this one later"
            ) from None
        return _Journal(target, tuple(keys), answer["ETag"])

    def _complete(self, journal: _Journal, found: Mapping[str, Content]) -> Iterator[Recovered]:
        """Write the raw object unless an earlier run did; check it; remove the sources."""
        there = self._messages_in(journal.target)
        # No source is removed before the object is written. If one is gone and there is no object,
        # somebody else has removed it: then the rest becomes a batch of its own.
        if there is None and len(found) == len(journal.sources):
            lines = [line for key in journal.sources for line in found[key].lines]
            self.s3.put_object(
                Bucket=self.bucket,
                Key=journal.target,
                # No time stamp in the header: the same messages make the same bytes.
                Body=gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0),
            )
            there = self._messages_in(journal.target)
        if there is not None:
            self._remove(journal, found, there)
            yield Recovered(journal.target, there.total(), len(found))
        try:
            self.s3.delete_object(Bucket=self.bucket, Key=self._journal_key, IfMatch=journal.etag)
        except ClientError as error:
            if _code(error) not in _MISSING | _EXISTS:  # another run has completed it, too
                raise

    def _remove(
        self, journal: _Journal, found: Mapping[str, Content], there: Counter[bytes]
    ) -> None:
        expected = Counter(line for content in found.values() for line in content.lines)
        if missing := expected - there:
            raise AwsError(
                f"expected every message in s3://{self.bucket}/{journal.target}, "
                f"got {missing.total():,} of {expected.total():,} fewer; no source was removed",
                remedy=f"look at that object and at s3://{self.bucket}/{self._journal_key}",
            )
        in_threads(self._delete, found)

    def _messages_in(self, key: str) -> Counter[bytes] | None:
        body = self._get(key)
        if body is None:
            return None
        try:
            return Counter(line for line in gzip.decompress(body[0]).split(b"\n") if line)
        except (OSError, EOFError, zlib.error):
            return Counter()  # somebody has overwritten it

    def _get(self, key: str) -> tuple[bytes, datetime] | None:
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        return answer["Body"].read(), answer["LastModified"]

    def _delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.bucket, Key=key)


def _journal_of(content: bytes, channel: str) -> tuple[str, tuple[str, ...]] | None:
    """Target and sources in a journal; None if they are not this channel's."""
    sources = re.compile(rf"(undelivered|failed/[^/]+)/{re.escape(channel)}/.+", re.DOTALL)
    try:
        found = json.loads(content)
        target, keys = found["target"], tuple(found["sources"])
        if target.startswith(f"raw/{channel}/") and all(map(sources.fullmatch, keys)):
            return target, keys
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return None


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    size = 0
    for source in sources:
        if batch and (len(batch) == _MOST_SOURCES or size + source.size > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += source.size
    if batch:
        yield batch
