"""The command: wires the stages to the terminal."""

import json
from dataclasses import asdict

import click

from device import aws, cli
from device.errors import ExitStatus
from device.identity import PROJECT_ROOT
from ops.doctor import probe
from ops.doctor.context import Context
from ops.doctor.findings import Finding, Outcome, Stage, examine
from ops.doctor.identity_checks import (
    BROKER,
    ENVIRONMENT,
    IDENTITY,
    NETWORK,
    REGISTRATION,
    SPOOL,
)
from ops.doctor.pipeline_checks import DELIVERY, PARSER, READINGS, RULE, TABLE

STAGES = (
    *(IDENTITY, ENVIRONMENT, NETWORK, REGISTRATION, BROKER, SPOOL),
    *(RULE, DELIVERY, PARSER, READINGS, TABLE),
)

_COLOURS = {Outcome.OK: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


def stages(*, connect: bool, send: bool) -> tuple[Stage, ...]:
    """The stages of one run."""
    chosen = tuple(stage for stage in STAGES if connect or stage is not BROKER)
    if send:
        chosen = (*chosen, probe.stage(needs=tuple(stage.name for stage in chosen)))
    return chosen


@click.command(cls=cli.Command)
@cli.environment_option()
@cli.channel_option("Contract of the messages.")
@click.option("--send", is_flag=True, help="Publish one reading and follow it to its row.")
@click.option(
    "--no-connect",
    is_flag=True,
    help="Do not connect: a publisher at work with this identity goes on undisturbed.",
)
@cli.format_option("text", "json", text="Format of stdout; json: one object per line.")
@cli.customer_option("Look at this customer's identity and messages.")
@click.argument("thing_name", metavar="THING", callback=cli.thing_name)
def main(
    environment: str,
    thing_name: str,
    *,
    channel: str,
    send: bool,
    no_connect: bool,
    output_format: str,
    customer: str | None,
) -> None:
    """Find out why THING's messages do not appear.

    Walks every hop from the identity's files to the Athena table, with a line for each check: ok,
    failed, or skipped and why. A failure comes with the one command or sentence that mends it.
    Changes nothing, and needs read permissions only: the docstring of ops/doctor/__init__.py
    has them as a policy. The exit status tells the first stage that failed.
    """
    if send and no_connect:
        raise click.UsageError("expected --send or --no-connect, got both")
    aws.settings_of(environment)  # a wrong name is no fault of the device
    cli.check_customer(environment, thing_name, customer)
    context = Context(environment, thing_name, channel, PROJECT_ROOT, customer)
    chosen = stages(connect=not no_connect, send=send)
    findings = []
    for finding in examine(context, chosen):
        click.echo(_json(finding) if output_format == "json" else _text(finding))
        findings.append(finding)
    failed = [finding for finding in findings if finding.outcome is Outcome.FAILED]
    if output_format == "text":
        click.echo(_conclusion(findings, failed, sent=send))
    if failed:
        raise SystemExit(next(s.status for s in chosen if s.name == failed[0].stage))
    raise SystemExit(ExitStatus.OK)


def _conclusion(findings: list[Finding], failed: list[Finding], *, sent: bool) -> str:
    """What a person reads when the lines above have scrolled away."""
    skipped = sum(finding.outcome is Outcome.SKIPPED for finding in findings)
    counts = f"{len(findings)} checks, {len(failed)} failed, {skipped} skipped"
    if failed:
        faults = (f"  {_line(finding)}" for finding in failed)
        return "\n".join((f"\n{counts}:", *faults))
    return f"\n{counts}" + ("" if sent else "; --send follows a reading to its row")


def _json(finding: Finding) -> str:
    return json.dumps(asdict(finding), ensure_ascii=False)


def _text(finding: Finding) -> str:
    word = click.style(f"{finding.outcome:<7}", fg=_COLOURS[finding.outcome])
    return f"{word}  {_line(finding)}"


def _line(finding: Finding) -> str:
    line = f"{finding.stage} · {finding.check}: {_printable(finding.detail)}"
    return line if finding.mend is None else f"{line}\n         → {_printable(finding.mend)}"


def _printable(text: str) -> str:
    """No control character that came from elsewhere reaches the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    main(prog_name="python -m ops.doctor")
