"""Make the tables again from the raw bucket: ``python -m ops.replay --env ENV --from --to``.

For use after a change of the contract or of the parser. FROM and TO are times of arrival, and cover
whole hours. Raw objects of hours that the live table still has are sent to the parser's queue; the
parser overwrites their rows and rejected lines as it gets to them. Then the state machine rebuilds
the daily table; an hour in which neither raw objects nor code nor contract have changed is left as
it is, unless --force. The hour that is running may be included; the night rebuilds it again.

Everything is safe to repeat. An execution that was started goes on when this command is
interrupted. Hours that failed are named with their errors, and are started again if you say so.
--dry-run only says how much there is to do, how long it takes and what it costs.

The credentials need cloudformation:DescribeStacks, glue:GetTable, s3:GetBucketNotification; on both
buckets s3:ListBucket, and s3:GetObject on the parsed one; sqs:GetQueueUrl and SendMessage on the
parser's queue; states:StartExecution, DescribeExecution, ListMapRuns, DescribeMapRun and
ListExecutions.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import click

from contracts import names
from device import aws, cli
from device.aws import AwsEnvironment
from device.delivery import prices
from device.errors import AwsError, ExitStatus
from ops import executions, raw_objects, times
from ops.doctor.findings import Skipped
from ops.executions import HOUR, FailedHour, HistoryMachine
from ops.raw_objects import RawObject
from ops.redrive import deployed_pipeline

# What the parser and the rebuild read per second and core, of gzip: little, so as not to promise
# too much. ``make bench`` measures it.
_BYTES_PER_SECOND = 8_000_000
_SECONDS_PER_HOUR = 2.0
_GB_PER_CORE = 1769 / 1024
# An execution for each hour: its start, its two states and its end.
_TRANSITIONS_PER_HOUR = 4

_BATCH = 10  # of SQS


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Attributes:
        start: First moment of the first hour.
        end: First moment after the last one.
        objects: All raw objects of these hours.
        live: Those whose outputs the live table still has.
    """

    start: datetime
    end: datetime
    objects: tuple[RawObject, ...]
    live: tuple[RawObject, ...]

    @property
    def hours(self) -> int:
        """Hours that have raw objects."""
        return len({found.hour for found in self.objects})

    def record(self) -> dict[str, object]:
        """The plan for ``--format json``, with an estimate of time and cost."""
        size = sum(found.size for found in self.objects)
        again = sum(found.size for found in self.live)
        core_seconds = (size + again) / _BYTES_PER_SECOND + self.hours * _SECONDS_PER_HOUR
        usd = core_seconds * _GB_PER_CORE * prices.LAMBDA_GB_SECOND_USD
        usd += self.hours * _TRANSITIONS_PER_HOUR * prices.STATE_TRANSITION_USD
        return {
            "from": cli.utc(self.start),
            "to": cli.utc(self.end),
            "hours": self.hours,
            "raw_objects": len(self.objects),
            "raw_bytes": size,
            "live_objects": len(self.live),
            "core_seconds": round(core_seconds),
            "usd": round(usd, 4),
        }

    def line(self) -> str:
        """The plan for people."""
        found = self.record()
        return (
            f"{cli.counted(self.hours, 'hour')} with {cli.counted(len(self.objects), 'raw object')}"
            f" ({int(str(found['raw_bytes'])) / 1e6:,.1f} MB); {len(self.live):,} of them renew the"
            f" live table; about {found['core_seconds']:,} s of one core, ${found['usd']}"
        )


def plan(found: Iterable[RawObject], start: datetime, end: datetime, live_since: datetime) -> Plan:
    """Choose the raw objects of the hours from ``start`` to ``end``.

    Args:
        found: Raw objects of a channel.
        start: First moment of the first hour.
        end: First moment after the last one.
        live_since: The live table has the days from this one on.
    """
    first, last = raw_objects.hour_of(start), raw_objects.hour_of(end - HOUR)
    objects = tuple(one for one in found if first <= one.hour <= last)
    served = raw_objects.hour_of(live_since.replace(hour=0))
    return Plan(start, end, objects, tuple(one for one in objects if one.hour >= served))


def live_days(glue: Any, environment: str, channel: str) -> int:
    """How many days the live table goes back: its partitions are projected so far."""
    table = glue.get_table(DatabaseName=names.database_name(environment), Name=channel)["Table"]
    days = re.fullmatch(r"NOW-(\d+)DAYS,NOW", table["Parameters"]["projection.dt.range"])
    if days is None:
        raise AwsError(f"expected the table {channel} to project its days back from now")
    return int(days[1])


def renew(sqs: Any, url: str, objects: Sequence[RawObject], show: Callable[[int], None]) -> None:
    """Send an event about each object to the parser's queue.

    Raises:
        AwsError: SQS did not take an event.
    """
    for start in range(0, len(objects), _BATCH):
        entries = [
            {"Id": str(number), "MessageBody": raw_objects.event(one.bucket, one.key)}
            for number, one in enumerate(objects[start : start + _BATCH])
        ]
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        if answer.get("Failed"):
            raise AwsError(
                f"expected SQS to take every event, got: {answer['Failed'][0].get('Message')}",
                remedy="run the same command again",
            )
        show(start + len(entries))


def totals(s3: Any, bucket: str, channel: str, hours: Iterable[str]) -> dict[str, int]:
    """Rows, rejected and repeated readings that the manifests of ``hours`` name, in total."""

    def manifest(hour: str) -> dict[str, Any]:
        key = f"manifests/{channel}/{hour}.json"
        try:
            content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            return {}
        found: dict[str, Any] = json.loads(content)
        return found if found["complete"] else {}

    found = aws.in_threads(manifest, hours)
    return {
        name: sum(one.get(name, 0) for one in found) for name in ("rows", "rejected", "repeated")
    }


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What became of the hours of one or more executions."""

    rebuilt: int
    failed: tuple[FailedHour, ...]
    not_tried: int


def rebuild(
    machine: HistoryMachine,
    channel: str,
    parts: Iterable[tuple[datetime, datetime]],
    *,
    force: bool,
    show: Callable[[int], None],
) -> ReplayOutcome:
    """Rebuild the hours of each part, one execution after the other."""
    rebuilt = not_tried = 0
    failed: list[FailedHour] = []
    for start, end in parts:
        progress = partial(_show_more, show, rebuilt + len(failed))
        run = machine.rebuild(channel, start, end, force=force, show=progress)
        rebuilt += run.rebuilt
        failed += run.failed
        not_tried += run.hours - run.rebuilt - len(run.failed)
    return ReplayOutcome(rebuilt, tuple(failed), not_tried)


def _show_more(show: Callable[[int], None], before: int, done: int) -> None:
    show(before + done)


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.replay --env dev --from 2026-11-01 --to 2026-11-03 --dry-run",
        "python -m ops.replay --env dev --from 2026-11-01 --to 2026-11-03 --yes",
        "python -m ops.replay --env dev --from 2026-11-25T10 --to 2026-11-25T12 --force",
    ],
    statuses=(ExitStatus.INCOMPLETE, ExitStatus.DECLINED, *cli.AWS_STATUSES),
)
@cli.environment_option()
@cli.channel_option("Contract (channel) whose tables are made again.")
@times.span_options(required=True)
@click.option("--force", is_flag=True, help="Also rebuild hours in which nothing has changed.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; hours that failed are not started again.")
@cli.format_option("text", "json")
def main(
    *,
    environment: str,
    channel: str,
    start: datetime,
    end: datetime,
    force: bool,
    dry_run: bool,
    yes: bool,
    output_format: str,
) -> None:
    """Replay the raw objects of one channel and time."""
    start, end = executions.whole_hours(start, end)
    opened = aws.session_for(environment)
    with deployed_pipeline(opened, channel) as deployed:
        live_since = datetime.now(UTC) - timedelta(
            days=live_days(opened.client("glue"), environment, channel)
        )
        s3 = opened.client("s3")
        found = raw_objects.find(s3, deployed.raw_bucket, channel, start, end)
        to_do = plan(found, start, end, live_since)
        report = to_do.record()
        cli.say(to_do.line())
        if to_do.objects and not dry_run:
            if not yes:
                cli.confirm(f"Replay them in {environment}, account {opened.account}?")
            if deployed.queue_arn is None:
                raise Skipped("the raw bucket notifies no queue")
            with cli.Progress(len(to_do.live)) as progress:
                renew(
                    opened.client("sqs"),
                    deployed.queue_url(deployed.queue_arn),
                    to_do.live,
                    lambda sent: progress.show(sent, f"{cli.counted(sent, 'event')} sent"),
                )
            hours = sorted({one.hour[3:].replace("/hour=", "T") for one in to_do.objects})
            before = totals(s3, deployed.parsed_bucket, channel, hours)
            outcome = _rebuild_until_done(opened, channel, to_do, force=force, ask=not yes)
            after = totals(s3, deployed.parsed_bucket, channel, hours)
            report |= {
                "rebuilt": outcome.rebuilt,
                "failed": [
                    {"hour": cli.utc(one.hour), "error": one.error} for one in outcome.failed
                ],
                "not_tried": outcome.not_tried,
                "before": before,
                "after": after,
            }
    if output_format == "json":
        cli.echo_json(report)
    if "after" in report:
        _tell(outcome, before, after)
        if outcome.failed or outcome.not_tried:
            raise SystemExit(ExitStatus.INCOMPLETE)
    elif not to_do.objects:
        cli.say("nothing to do")


def _rebuild_until_done(
    opened: AwsEnvironment, channel: str, to_do: Plan, *, force: bool, ask: bool
) -> ReplayOutcome:
    """Rebuild all hours, and those that failed again as long as the answer is yes."""
    machine = executions.machine_of(opened)
    parts = list(executions.ranges(to_do.start, to_do.end))
    total = (to_do.end - to_do.start) // HOUR
    rebuilt = 0
    while True:
        with cli.Progress(total) as progress:
            outcome = rebuild(
                machine,
                channel,
                parts,
                force=force,
                show=lambda done: progress.show(done, f"{cli.counted(done, 'hour')} done"),
            )
        rebuilt += outcome.rebuilt
        for one in outcome.failed:
            cli.say(f"{cli.utc(one.hour)}: {one.error}")
        if not outcome.failed or not ask or not _again(len(outcome.failed)):
            return ReplayOutcome(rebuilt, outcome.failed, outcome.not_tried)
        parts = [(one.hour, one.hour + HOUR) for one in outcome.failed]
        total = len(parts)


def _again(failed: int) -> bool:
    try:
        cli.confirm(f"Start the {cli.counted(failed, 'hour')} that failed again?")
    except SystemExit:
        return False
    return True


def _tell(outcome: ReplayOutcome, before: dict[str, int], after: dict[str, int]) -> None:
    cli.say(
        f"{cli.counted(outcome.rebuilt, 'hour')} rebuilt, {len(outcome.failed):,} failed, "
        f"{outcome.not_tried:,} not tried"
    )
    for name, count in after.items():
        cli.say(f"{name}: {before[name]:,} before, {count:,} after")


if __name__ == "__main__":
    main(prog_name="python -m ops.replay")
