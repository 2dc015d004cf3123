"""Bring undelivered messages back: ``python -m ops.recover --env ENV``.

Counts what the topic rule's error action kept under undelivered/ and what Firehose gave up under
failed/. Then writes these messages into new raw objects, under the hour of the recovery, from where
the parser takes them; checks that each message is there; and only then removes the source objects.
An object that is not of the form that AWS documents stays, and is named on stderr.

After an interruption, run the same command again: it completes what the interrupted run began, and
brings no message back twice. --dry-run changes nothing, but reads every object.

The error action keeps neither the certificate nor the time of arrival: the time at which AWS wrote
the object becomes the time of arrival.

The credentials need cloudformation:DescribeStacks; on the raw bucket s3:ListBucket; s3:GetObject on
undelivered/*, failed/*, raw/* and recovering/*; s3:PutObject on raw/* and recovering/*; and
s3:DeleteObject on undelivered/*, failed/* and recovering/*.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import click

from device import aws, cli
from device.errors import ExitStatus
from ops import raw_objects
from ops.recovery import Recovered, Recovery, Source
from ops.tables import printable


@dataclass
class Survey:
    """What is there of one kind of sources.

    Attributes:
        messages: None if the objects were not read.
        newest_error: Why AWS could not deliver the newest message; None if unknown.
    """

    objects: int
    bytes: int
    oldest: datetime
    newest: datetime
    messages: int | None = None
    newest_error: str | None = None

    def record(self) -> dict[str, object]:
        """The survey for ``--format json``."""
        return {**asdict(self), "oldest": cli.utc(self.oldest), "newest": cli.utc(self.newest)}

    def line(self, kind: str) -> str:
        """The survey for people."""
        counts = [cli.counted(self.objects, "object"), cli.counted(self.bytes, "byte")]
        if self.messages is not None:
            counts.insert(1, cli.counted(self.messages, "message"))
        error = f"; the newest error: {self.newest_error}" if self.newest_error else ""
        times = f"from {cli.utc(self.oldest)} to {cli.utc(self.newest)}"
        return printable(f"{kind}/: {', '.join(counts)}, {times}{error}")


def survey(sources: Sequence[Source]) -> dict[str, Survey]:
    """Count ``sources`` by kind."""
    found: dict[str, Survey] = {}
    for source in sources:
        at = source.written_at
        seen = found.setdefault(source.kind, Survey(0, 0, at, at))
        seen.objects += 1
        seen.bytes += source.size
        seen.oldest, seen.newest = min(seen.oldest, at), max(seen.newest, at)
    return found


def read_all(recovery: Recovery, sources: Sequence[Source], found: dict[str, Survey]) -> None:
    """Add to ``found`` what can be known only from the objects themselves."""
    written_at = {source.key: source.written_at for source in sources}
    newest: dict[str, datetime] = {}
    with cli.Progress(len(sources)) as progress:
        for done, (key, content) in enumerate(recovery.contents(sources), 1):
            kind = key.partition("/")[0]
            found[kind].messages = (found[kind].messages or 0) + len(content.lines)
            if written_at[key] >= newest.get(kind, written_at[key]):
                newest[kind], found[kind].newest_error = written_at[key], content.error
            progress.show(done, f"{cli.counted(done, 'object')} read")


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.recover --env dev --dry-run",
        "python -m ops.recover --env dev --channel telemetry --yes",
        "python -m ops.recover --env dev --yes --format json",
    ],
    statuses=(ExitStatus.INCOMPLETE, ExitStatus.DECLINED, *cli.AWS_STATUSES),
)
@cli.environment_option()
@cli.channel_option("Contract (channel) of the messages.")
@click.option("--dry-run", is_flag=True, help="Only read and count; change nothing.")
@click.option("--yes", is_flag=True, help="Recover without asking; for scripts.")
@cli.format_option("text", "json")
def main(*, environment: str, channel: str, dry_run: bool, yes: bool, output_format: str) -> None:
    """Recover the messages of one channel."""
    opened = aws.session_for(environment)
    bucket = raw_objects.bucket_of(opened)
    recovered: list[Recovered] = []
    with aws.explained(environment):
        recovery = Recovery(opened.client("s3"), bucket, channel)
        sources = recovery.sources()
        found = survey(sources)
        pending = recovery.interrupted() is not None
        if dry_run:
            read_all(recovery, sources, found)
        if output_format == "text":
            for kind, seen in found.items():
                click.echo(seen.line(kind))
        if (sources or pending) and not dry_run:
            if not yes:
                cli.confirm(
                    f"Recover {cli.counted(len(sources), 'object')} of {channel} in {environment}, "
                    f"account {opened.account}?"
                )
            recovered = _recover(recovery, sources, say=output_format == "text")
    if output_format == "json":
        cli.echo_json(
            {
                "sources": {kind: seen.record() for kind, seen in found.items()},
                "recovered": [asdict(each) for each in recovered],
                "not_understood": recovery.not_understood,
            }
        )
    for key, reason in recovery.not_understood.items():
        cli.say(printable(f"left as it is: s3://{bucket}/{key}: {reason}"))
    if pending and dry_run:
        cli.say("an earlier run was interrupted; the next run completes what it began")
    if not sources and not pending:
        cli.say(f"nothing of {channel} is undelivered; nothing to do")
    elif not dry_run:
        messages = sum(each.messages for each in recovered)
        objects = cli.counted(len(recovered), "raw object")
        cli.say(f"{cli.counted(messages, 'message')} recovered in {objects}")
    if recovery.not_understood:
        raise SystemExit(ExitStatus.INCOMPLETE)


def _recover(recovery: Recovery, sources: Sequence[Source], *, say: bool) -> list[Recovered]:
    recovered: list[Recovered] = []
    with cli.Progress(len(sources)) as progress:
        for each in recovery.recover(sources):
            recovered.append(each)
            if say:
                click.echo(
                    f"{each.key}: {cli.counted(each.messages, 'message')} of "
                    f"{cli.counted(each.sources, 'object')}"
                )
            done = sum(one.sources for one in recovered)
            progress.show(done, f"{cli.counted(done, 'object')} recovered")
    return recovered


if __name__ == "__main__":
    main(prog_name="python -m ops.recover")
