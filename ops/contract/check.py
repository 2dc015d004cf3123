"""The command ``check``: what a change of a contract means, field by field."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import click

import contracts
from contracts import Contract, ContractError, changes, revisions
from contracts.changes import Change
from device import cli
from device.errors import ExitStatus
from ops.contract import sample
from ops.times import Moment


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contract now and at a revision.

    Attributes:
        old: None if there was none.
        new: None if there is none any more.
    """

    channel: str
    old: Contract | None
    new: Contract | None

    @property
    def changes(self) -> list[Change]:
        """Every change of a field; none for a contract that is new or gone."""
        return changes.compare(self.old, self.new) if self.old and self.new else []

    @property
    def is_compatible(self) -> bool:
        """Whether devices, rows and queries of before still fit."""
        return self.new is not None and all(change.is_compatible for change in self.changes)

    def record(self) -> dict[str, object]:
        """The comparison for ``--format json``."""
        return {
            "channel": self.channel,
            "is_new": self.old is None,
            "is_removed": self.new is None,
            "is_compatible": self.is_compatible,
            "changes": [
                {**asdict(change), "is_compatible": change.is_compatible} for change in self.changes
            ],
        }

    def text(self, revision: str) -> str:
        """The comparison for people."""
        if self.new is None:
            return f"{self.channel}: removed since {revision}; its pipeline and tables go with it"
        if self.old is None:
            return f"{self.channel}: new since {revision}; nothing to compare"
        if not self.changes:
            return f"{self.channel}: no change since {revision}"
        incompatible = sum(not change.is_compatible for change in self.changes)
        title = (
            f"{self.channel}: {cli.counted(len(self.changes), 'change')} since {revision}, "
            f"{incompatible} of them incompatible"
        )
        return "\n".join([title, *map(_text, self.changes)])


def _text(change: Change) -> str:
    mark = "compatible  " if change.is_compatible else "INCOMPATIBLE"
    return (
        f"\n  {mark}  {change.kind}  {change.path}: {change.detail}\n"
        f"    stored rows            {change.consequence.stored_rows}\n"
        f"    devices not updated    {change.consequence.devices}\n"
        f"    Athena                 {change.consequence.athena}"
    )


def _compare(channel: str, revision: str) -> Comparison:
    try:
        old = revisions.load_at(channel, revision)
        new = contracts.load(channel) if channel in contracts.channels() else None
    except (ContractError, revisions.RevisionError) as error:
        raise click.UsageError(str(error)) from None
    if old is None and new is None:
        raise click.BadParameter(
            f"expected a contract ({', '.join(contracts.channels())}), got {channel!r}",
            param_hint="CHANNEL",
        )
    return Comparison(channel, old, new)


@click.command(
    cls=cli.Command,
    examples=[
        "python -m ops.contract check",
        "python -m ops.contract check telemetry --against origin/main --format json",
        "python -m ops.contract check telemetry --sample 2026-11-24 2026-11-25 --env dev",
    ],
    statuses=(ExitStatus.INCOMPATIBLE, *cli.AWS_STATUSES),
)
@click.argument("channels", metavar="[CHANNEL]...", nargs=-1)
@click.option(
    "--against",
    "revision",
    metavar="REV",
    default="HEAD",
    show_default=True,
    help="Git revision to compare with, such as origin/main.",
)
@click.option(
    "--sample",
    "period",
    nargs=2,
    type=Moment(),
    metavar="FROM TO",
    help="Also parse the raw objects of this time, in whole hours, with both contracts.",
)
@cli.environment_option(required=False)
@cli.format_option("text", "json")
def check(
    channels: Sequence[str],
    *,
    revision: str,
    period: tuple[datetime, datetime] | None,
    environment: str | None,
    output_format: str,
) -> None:
    """Compare contracts with those of a git revision, field by field.

    Says what each change means: for rows that are stored, for devices that were not updated, and
    for Athena. Without CHANNEL, all contracts are compared.

    --sample parses raw objects with the old and the new contract, and shows how many more and fewer
    readings are rejected, by reason and path. It needs --env, one CHANNEL, and of AWS
    cloudformation:DescribeStacks and, on the raw bucket, s3:ListBucket and s3:GetObject.
    """
    if period is not None and (environment is None or len(channels) != 1):
        raise click.UsageError("expected --env and one CHANNEL with --sample")
    if period is not None and period[0] >= period[1]:
        raise click.BadParameter("expected FROM before TO", param_hint="--sample")
    compared = [_compare(channel, revision) for channel in channels or contracts.channels()]
    samples: list[sample.Sample] = []
    if period is not None and environment is not None:
        (one,) = compared
        if one.old is None or one.new is None:
            raise click.UsageError("expected a contract that was there and is there for --sample")
        samples.append(sample.take(environment, one.old, one.new, *period))
    if output_format == "json":
        for one in compared:
            more = {"sample": samples[0].record()} if samples else {}
            cli.echo_json({**one.record(), **more})
    else:
        click.echo("\n\n".join(one.text(revision) for one in compared))
        for taken in samples:
            click.echo(f"\n{taken.text()}")
    if not all(one.is_compatible for one in compared):
        raise SystemExit(ExitStatus.INCOMPATIBLE)
