"""Parse raw objects with an old and a new contract, and compare what is rejected."""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

from contracts import Contract
from device import aws, cli
from ops import raw_objects
from ops.parse import Reason, count_reasons
from telemetry_parser.parser import Parser
from telemetry_parser.raw import ObjectError


@dataclass
class SampleOutcome:
    """What one contract makes of the sample.

    Attributes:
        accepted: Readings that fit.
        rejected: Readings that do not.
        reasons: How many readings were rejected for each reason.
    """

    accepted: int = 0
    rejected: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)


@dataclass
class Sample:
    """The outcome of both contracts.

    Attributes:
        objects: How many raw objects were parsed.
        damaged: Keys of raw objects that cannot be read to their end.
    """

    objects: int = 0
    damaged: list[str] = field(default_factory=list)
    old: SampleOutcome = field(default_factory=SampleOutcome)
    new: SampleOutcome = field(default_factory=SampleOutcome)

    def differences(self) -> list[tuple[Reason, int, int]]:
        """Reasons whose count differs, with the old and the new count; the largest first."""
        reasons = self.old.reasons.keys() | self.new.reasons.keys()
        counts = [(each, self.old.reasons[each], self.new.reasons[each]) for each in reasons]
        return sorted(
            (each for each in counts if each[1] != each[2]),
            key=lambda each: (-abs(each[2] - each[1]), each[0].path or "", each[0].reason),
        )

    def record(self) -> dict[str, object]:
        """The sample for ``--format json``."""
        return {
            "objects": self.objects,
            "damaged_objects": self.damaged,
            **{
                name: {"accepted": outcome.accepted, "rejected": outcome.rejected}
                for name, outcome in (("old", self.old), ("new", self.new))
            },
            "differences": [
                {"reason": each.reason, "path": each.path, "old": old, "new": new}
                for each, old, new in self.differences()
            ],
        }

    def text(self) -> str:
        """The sample for people."""
        lines = [
            f"sample: {cli.counted(self.objects, 'raw object')}; of "
            f"{cli.counted(self.old.accepted + self.old.rejected, 'reading')} the old contract "
            f"rejects {self.old.rejected:,}, the new one {self.new.rejected:,}"
        ]
        for each, old, new in self.differences():
            lines.append(f"  {new - old:+,}  {each.path or ''}  {each.reason}  ({old:,} → {new:,})")
        lines += [f"  not read to its end: {key}" for key in self.damaged]
        return "\n".join(lines)


def take(environment: str, old: Contract, new: Contract, start: datetime, end: datetime) -> Sample:
    """Parse the raw objects of the hours from ``start`` to ``end``.

    Raises:
        AwsError: They cannot be read.
    """
    opened = aws.session_for(environment)
    bucket = raw_objects.bucket_of(opened)
    s3 = opened.client("s3")
    sample = Sample()
    parsers = ((Parser(old), sample.old), (Parser(new), sample.new))
    with (
        aws.explained(environment),
        TemporaryDirectory() as folder,
        cli.Progress(None) as progress,
    ):
        # From the second hour that ``find`` gives: the first is for what arrived late.
        first = raw_objects.hour_of(start)
        raw = Path(folder, "raw")
        for found in raw_objects.find(s3, bucket, new.channel, start, end):
            if found.hour < first:
                continue
            with raw.open("wb") as file:
                shutil.copyfileobj(cast("IO[bytes]", raw_objects.opened(s3, found)), file)
            try:
                outcomes = [(_parse(parser, raw, found.key), into) for parser, into in parsers]
            except ObjectError:
                sample.damaged.append(found.key)
                continue
            for outcome, into in outcomes:
                into.accepted += outcome.accepted
                into.rejected += outcome.rejected
                into.reasons.update(outcome.reasons)
            sample.objects += 1
            progress.show(
                sample.objects, f"{cli.counted(sample.objects, 'object')} parsed, at {found.hour}"
            )
    return sample


def _parse(parser: Parser, raw: Path, key: str) -> SampleOutcome:
    parquet, rejected = raw.with_name("parquet"), raw.with_name("rejected")
    outcome = SampleOutcome()
    with raw.open("rb") as file:
        result = parser.parse(file, raw_key=key, parquet_path=parquet, rejected_path=rejected)
    outcome.accepted, outcome.rejected = result.readings_parsed, result.readings_rejected
    count_reasons(rejected, outcome.reasons)
    for path in (parquet, rejected):
        path.unlink(missing_ok=True)
    return outcome
