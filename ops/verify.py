"""Check history against raw: ``python -m ops.verify --env ENV --from TIME --to TIME``.

For each hour of arrival it rebuilds the daily objects on this machine, with the code that the
function has, and compares: raw objects with the manifest, the manifest with what the raw objects
give, and the daily objects with both. It names what is missing, altered, added or repeated, and
changes nothing. An hour that another version of the code or of the contract made is compared with
its own manifest only; ops.replay makes it again. If the contract has a field "sequence", the gaps
in it are counted for each thing.

An hour takes as long as in the function, and as much memory and disk here.

The credentials need cloudformation:DescribeStacks, and on both buckets s3:ListBucket and
s3:GetObject.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import duckdb

import contracts
from contracts import Contract, time_field
from device import aws, cli
from device.errors import ExitStatus
from ops import executions, times
from telemetry_rebuild import manifest as manifests
from telemetry_rebuild.hours import Hour
from telemetry_rebuild.manifest import ListedObject, Manifest, Output
from telemetry_rebuild.objects import HistoryObjects
from telemetry_rebuild.rebuild import Rebuilder

_MEMORY_MEBIBYTES = 512
_BLOCK_BYTES = 1024 * 1024
_SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What is wrong in an hour.

    Attributes:
        kind: ``missing``, ``altered``, ``added``, ``repeated`` or ``not rebuilt``.
        what: The object, and what is wrong with it.
    """

    hour: str
    kind: str
    what: str


class _LocalOutputs(HistoryObjects):
    """Reads from S3 and writes to a folder of this machine; knows no earlier manifest."""

    def __init__(self, client: Any, folder: Path) -> None:
        super().__init__(client)
        self._folder = folder

    def get(self, bucket: str, key: str) -> bytes | None:  # noqa: ARG002  # as it is called
        """There is no earlier run."""
        return None

    def put(self, bucket: str, key: str, path: Path) -> None:  # noqa: ARG002  # as it is called
        """Keep a daily object."""
        target = self._folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks the hours of one channel.

    Attributes:
        client: Of S3.
        daily_keys: All daily objects of the channel.
    """

    client: Any
    raw_bucket: str
    parsed_bucket: str
    contract: Contract
    daily_keys: frozenset[str]

    def check(self, hour: Hour, folder: Path) -> Iterator[Mismatch]:
        """Yield what is wrong; leave the daily objects of ``hour`` in ``folder``."""
        objects = _LocalOutputs(self.client, folder)
        channel = self.contract.channel
        stored = HistoryObjects(self.client).get(self.parsed_bucket, hour.manifest_key(channel))
        listed = objects.list(self.raw_bucket, hour.raw_prefix(channel))
        raw = {one for one in listed if one.key.endswith(".ndjson.gz")}
        if stored is None:
            if raw:
                yield Mismatch(str(hour), "not rebuilt", f"{len(raw):,} raw objects, no manifest")
            return
        manifest = manifests.decode(stored)
        if not manifest.complete:
            yield Mismatch(str(hour), "not rebuilt", "the last run did not come to its end")
            return
        yield from self._raw(hour, manifest, raw)
        is_stray = re.compile(rf"/{hour}(-[0-9]+)?\.parquet$").search
        for key in sorted(filter(is_stray, self.daily_keys - manifest.output_keys)):
            yield Mismatch(str(hour), "added", f"{key}: not in the manifest")
        retention_days = manifest.version.retention_days
        made = None
        if manifest.version == manifests.version_of(self.contract, retention_days):
            rebuilder = Rebuilder(
                objects=objects,
                raw_bucket=self.raw_bucket,
                parsed_bucket=self.parsed_bucket,
                retention_days=retention_days,
                memory_mebibytes=_MEMORY_MEBIBYTES,
                threads=1,
            )
            made = rebuilder.rebuild(self.contract, hour).manifest
            yield from _counts(hour, manifest, made)
        for output in manifest.outputs:
            yield from self._daily(hour, output, folder / output.key)

    def _raw(self, hour: Hour, manifest: Manifest, raw: set[ListedObject]) -> Iterator[Mismatch]:
        before = {one.key: one.etag for one in manifest.raw_objects}
        now = {one.key: one.etag for one in raw}
        for key in sorted(before.keys() | now.keys()):
            if key not in now:
                yield Mismatch(str(hour), "missing", f"{key}: gone since the rebuild")
            elif key not in before:
                yield Mismatch(str(hour), "added", f"{key}: not in the manifest; rebuild the hour")
            elif before[key] != now[key]:
                yield Mismatch(str(hour), "altered", f"{key}: another content than at the rebuild")

    def _daily(self, hour: Hour, output: Output, expected: Path) -> Iterator[Mismatch]:
        """Compare a daily object with the manifest, and its rows with those made here."""
        stored = expected.with_suffix(".stored")
        stored.parent.mkdir(parents=True, exist_ok=True)
        if output.key not in self.daily_keys:
            yield Mismatch(str(hour), "missing", f"{output.key}: {output.rows:,} rows")
            return
        with (
            HistoryObjects(self.client).open(self.parsed_bucket, output.key) as body,
            stored.open("wb") as file,
        ):
            while block := body.read(_BLOCK_BYTES):
                file.write(block)
        with stored.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != output.sha256:
            yield Mismatch(str(hour), "altered", f"{output.key}: not what the rebuild wrote")
        if expected.exists() and stored.read_bytes() != expected.read_bytes():
            for kind, rows in _row_differences(expected, stored).items():
                if rows:
                    yield Mismatch(str(hour), kind, f"{output.key}: {cli.counted(rows, 'row')}")
        stored.unlink()


def _counts(hour: Hour, manifest: Manifest, made: Manifest) -> Iterator[Mismatch]:
    """Compare what the manifest claims of each raw object with what is in it."""
    found = {one.key: one for one in made.inputs}
    for claimed in manifest.inputs:
        if claimed.key in found and claimed != found[claimed.key]:
            yield Mismatch(
                str(hour), "altered", f"{claimed.key}: the manifest's counts are not those of raw"
            )
    for name in ("rows", "rejected", "repeated", "misdated"):
        claims, is_made = getattr(manifest, name), getattr(made, name)
        if claims != is_made and manifest.raw_objects == made.raw_objects:
            yield Mismatch(
                str(hour), "altered", f"{name}: the manifest says {claims:,}, raw gives {is_made:,}"
            )


def _row_differences(expected: Path, stored: Path) -> dict[str, int]:
    """How many rows of a daily object are missing, added or repeated."""
    place = "raw_key, raw_line, reading_index"
    with duckdb.connect() as connection:
        try:
            connection.execute(f"CREATE VIEW wanted AS FROM read_parquet('{expected}')")
            connection.execute(f"CREATE VIEW found AS FROM read_parquet('{stored}')")
            counts = connection.execute(
                "SELECT (SELECT count(*) FROM (FROM wanted EXCEPT FROM found)), "
                "(SELECT count(*) FROM (FROM found EXCEPT FROM wanted)), "
                f"(SELECT count(*) - count(DISTINCT ({place})) FROM found)"
            ).fetchall()[0]
        except duckdb.Error:  # no whole Parquet file; that it is altered is said already
            return {}
    return dict(zip(("missing", "added", "repeated"), counts, strict=True))


class Gaps:
    """Counts the numbers that are missing in a contract's ``sequence``; to be closed.

    A number that is lower than the one before it, by the readings' own time, begins a new sequence,
    as after a restart of the device.
    """

    def __init__(self, contract: Contract, folder: Path) -> None:
        field = next((one for one in contract.fields if one.column == _SEQUENCE), None)
        time = time_field(contract)
        self._time = "received_at" if time is None else time.column
        self._counts = field is not None and field.schema.kind == "integer"
        self._connection = duckdb.connect(str(folder / "sequences.db"))
        self._connection.execute(
            "CREATE TABLE numbers (thing_name VARCHAR, customer VARCHAR, moment BIGINT, n BIGINT)"
        )

    def add(self, files: Iterator[Path]) -> None:
        """Take in the rows of daily objects."""
        for path in files if self._counts else ():
            self._connection.execute(
                f'INSERT INTO numbers SELECT thing_name, customer, epoch_ms("{self._time}"), '
                f'"{_SEQUENCE}" FROM read_parquet(\'{path}\') WHERE "{_SEQUENCE}" IS NOT NULL'
            )

    def found(self) -> list[dict[str, object]]:
        """Things and customers with missing numbers, those that lack most first."""
        rows = self._connection.execute(
            "SELECT thing_name, customer, sum(n - before - 1)::BIGINT AS missing FROM ("
            "SELECT *, lag(n) OVER (PARTITION BY thing_name, customer ORDER BY moment, n) "
            "AS before FROM numbers) WHERE n > before + 1 "
            "GROUP BY ALL ORDER BY missing DESC, thing_name, customer"
        ).fetchall()
        return [
            {"thing_name": thing, "customer": customer, "missing": missing}
            for thing, customer, missing in rows
        ]

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.verify --env dev --from 2026-11-24 --to 2026-11-25",
        "python -m ops.verify --env dev --from 2026-11-24T10 --to 2026-11-24T12 --format json",
    ],
    statuses=(ExitStatus.INCOMPLETE, *cli.AWS_STATUSES),
)
@cli.environment_option()
@cli.channel_option("Contract (channel) whose history is checked.")
@times.span_options(required=True)
@cli.format_option("text", "json")
def main(
    *, environment: str, channel: str, start: datetime, end: datetime, output_format: str
) -> None:
    """Check the history of one channel and time."""
    hours = list(executions.hours(start, end))
    opened = aws.session_for(environment)
    opened.check_stack()
    contract = contracts.load(channel)
    findings: list[Mismatch] = []
    with (
        aws.explained(environment),
        tempfile.TemporaryDirectory() as temporary,
        cli.Progress(len(hours)) as progress,
    ):
        outputs = aws.stack_outputs(opened.client("cloudformation"), environment)
        bucket, s3 = outputs["ParsedBucket"], opened.client("s3")
        daily = HistoryObjects(s3).list(bucket, f"daily/{channel}/")
        keys = frozenset(one.key for one in daily)
        verifier = Verifier(s3, outputs["RawBucket"], bucket, contract, keys)
        with closing(Gaps(contract, Path(temporary))) as gaps:
            for done, hour in enumerate(hours, start=1):
                with tempfile.TemporaryDirectory() as folder:
                    for finding in verifier.check(Hour(hour), Path(folder)):
                        findings.append(finding)
                        if output_format == "text":
                            click.echo(f"{finding.hour}  {finding.kind}: {finding.what}")
                    gaps.add(Path(folder).rglob("*.parquet"))
                progress.show(done, f"{cli.counted(done, 'hour')} checked")
            missing = gaps.found()
    if output_format == "json":
        records = [asdict(finding) for finding in findings]
        cli.echo_json({"hours": len(hours), "findings": records, "gaps": missing})
    else:
        for gap in missing:
            who = " ".join(str(gap[name]) for name in ("thing_name", "customer") if gap[name])
            click.echo(f"{who}: {gap['missing']:,} missing in {_SEQUENCE}")
    cli.say(
        f"{cli.counted(len(hours), 'hour')} checked, {cli.counted(len(findings), 'finding')}, "
        f"{cli.counted(len(missing), 'thing')} with gaps"
    )
    if findings:
        raise SystemExit(ExitStatus.INCOMPLETE)


if __name__ == "__main__":
    main(prog_name="python -m ops.verify")
