"""Follow one message from the raw bucket through every later hop."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contracts import Contract, time_field
from ops import parsed_rows, parser_log, raw_lines, raw_objects
from ops.doctor.deployed import Deployed
from ops.doctor.findings import Skipped
from ops.parsed_rows import NotParquet
from ops.raw_objects import DamagedObject, RawObject
from ops.trace.search import Place, arrived_at

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_s3 import S3Client

# A live object holds a minute; larger ones are not read, so that memory stays bounded.
_MOST_BYTES = 256 * 2**20
_MOST_REJECTED = 100
_MOST_LOG_LINES = 20
_MISSING = {"404", "NoSuchKey"}


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of the message.

    Attributes:
        name: ``message``, ``raw``, ``parsed``, ``rejected``, ``log`` or ``daily``.
        time: When it got there; None if it did not, or if that cannot be told.
        what: The object, or what happened, in one line.
        details: What the hop holds of the message.
    """

    name: str
    time: datetime | None
    what: str
    details: tuple[dict[str, Any], ...] = ()


class Trace:
    """Follows one message.

    Args:
        client: Makes the AWS client of a service.
        deployed: The channel's pipeline.
        contract: Of the channel.
        place: Where the message is in the raw bucket.
    """

    def __init__(
        self, client: Callable[[str], Any], deployed: Deployed, contract: Contract, place: Place
    ) -> None:
        self._client = client
        self._s3: S3Client = client("s3")
        self._deployed = deployed
        self._contract = contract
        self._place = place
        self._stem = place.found.key.removeprefix("raw/").removesuffix(".ndjson.gz")
        self._days: set[str] = set()

    def hops(self) -> Iterator[Hop]:
        """Yield each hop in the order in which the message passes it."""
        yield self._message()
        yield self._raw()
        yield self._parsed()
        yield self._rejected()
        yield from self._log()
        yield self._daily()

    def _message(self) -> Hop:
        shown = raw_lines.shown(self._place.content)
        payload = shown.pop("payload", None)
        if "text" in shown:
            shown["text_characters"] = len(str(shown.pop("text")))
        readings = len(payload) if isinstance(payload, list) else 1
        what = str(shown.get("error") or f"from {shown.get('thing_name')}")
        return Hop("message", self._arrived, what, ({**shown, "readings": readings},))

    @property
    def _arrived(self) -> datetime | None:
        return arrived_at(raw_lines.decode_envelope(self._place.content) or {})

    def _raw(self) -> Hop:
        found = self._place.found
        head = self._head(found.bucket, found.key)
        what = f"{found.key} line {self._place.line}"
        return Hop("raw", head and head[0], what)

    def _head(self, bucket: str, key: str) -> tuple[datetime, int] | None:
        """When an object was written, and its size; None if there is none."""
        try:
            found = self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
            return None
        return found["LastModified"], found["ContentLength"]

    def _parsed(self) -> Hop:
        key = f"parsed/{self._stem}.parquet"
        bucket = self._deployed.parsed_bucket
        head = self._head(bucket, key)
        if head is None:
            return Hop("parsed", None, f"no {key}")
        if head[1] > _MOST_BYTES:
            return Hop("parsed", head[0], f"{key} is larger than {_MOST_BYTES:,} bytes: not read")
        content = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        try:
            rows = list(rows_of(content, self._place.line))
        except NotParquet as damage:
            return Hop("parsed", head[0], f"{key}: {damage}")
        self._days = {day for row in rows if (day := self._day_of(row)) is not None}
        if not rows:
            return Hop("parsed", None, f"{key} has no row of the message")
        return Hop("parsed", head[0], key, tuple(rows))

    def _day_of(self, row: dict[str, Any]) -> str | None:
        """The day of a row in the daily table, if its own time is plausible."""
        field = time_field(self._contract)
        moment = row.get("received_at" if field is None else field.column)
        return f"{moment.astimezone(UTC):%Y-%m-%d}" if isinstance(moment, datetime) else None

    def _rejected(self) -> Hop:
        key = f"rejected/{self._stem}.ndjson.gz"
        bucket = self._deployed.parsed_bucket
        head = self._head(bucket, key)
        if head is None:
            return Hop("rejected", None, f"no {key}")
        found: list[dict[str, Any]] = []
        with suppress(DamagedObject):
            for line in raw_objects.lines(raw_objects.opened(self._s3, RawObject(bucket, key, 0))):
                with suppress(ValueError, LookupError, TypeError, RecursionError):
                    document = json.loads(line)
                    if document["raw_line"] == self._place.line:
                        names = ("reading_index", "reason", "path")
                        found.append({name: document[name] for name in names})
                if len(found) == _MOST_REJECTED:
                    break
        if not found:
            return Hop("rejected", None, f"{key} has no line of the message")
        return Hop("rejected", head[0], key, tuple(found))

    def _log(self) -> Iterator[Hop]:
        """What the parser's log says about the object."""
        try:
            function = self._deployed.function
        except Skipped:
            return
        since = self._arrived
        if since is None:
            return
        for line in parser_log.about(
            self._client("logs"), function, self._place.found.key, since, _MOST_LOG_LINES
        ):
            yield Hop("log", line.time, line.text)

    def _daily(self) -> Hop:
        channel, _, rest = self._stem.partition("/")
        day, hour = (part.partition("=")[2] for part in rest.split("/")[:2])
        key = f"manifests/{channel}/{day}T{hour}.json"
        bucket = self._deployed.parsed_bucket
        head = self._head(bucket, key)
        if head is None:
            return Hop("daily", None, f"the hour is not rebuilt yet: no {key}")
        try:
            manifest = json.loads(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            inputs = {each["key"] for each in manifest["inputs"]}
            skipped = {each["key"]: each["reason"] for each in manifest["skipped"]}
            outputs = [str(each["key"]) for each in manifest["outputs"]]
        except (ValueError, LookupError, TypeError, RecursionError):
            return Hop("daily", None, f"{key} is not a manifest")
        raw_key = self._place.found.key
        if raw_key in skipped:
            return Hop("daily", None, f"the raw object was skipped: {skipped[raw_key]}")
        if raw_key not in inputs:
            return Hop("daily", None, f"the hour was rebuilt without this raw object: {key}")
        of_days = [one for one in outputs if one.split("/")[2].partition("=")[2] in self._days]
        # A reading whose own time is implausible is under its day of arrival.
        if self._days and not of_days:
            of_days = [one for one in outputs if f"day={day}/" in one]
        if not of_days:
            return Hop("daily", None, f"rebuilt, and no row of the message is in it: {key}")
        return Hop("daily", head[0], ", ".join(of_days))


def rows_of(content: bytes, raw_line: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parsed object that come from a raw line."""
    for batch in parsed_rows.batches(content):
        numbers = batch.column("raw_line").to_pylist()
        for place, number in enumerate(numbers):
            if number == raw_line:
                yield parsed_rows.row(batch, place)
