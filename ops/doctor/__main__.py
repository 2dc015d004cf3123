"""The command: prints the findings of the stages."""

from dataclasses import asdict

import click

from device import cli, environments
from device.errors import ExitStatus
from device.identity import PROJECT_ROOT
from ops.doctor.context import Context
from ops.doctor.examination import examine, first_status
from ops.doctor.findings import CheckOutcome, Finding
from ops.doctor.stages import STAGES, chosen
from ops.tables import printable

_COLOURS = {CheckOutcome.OK: "green", CheckOutcome.FAILED: "red", CheckOutcome.SKIPPED: "yellow"}


@click.command(
    cls=cli.Command,
    examples=[
        "python -m ops.doctor --env dev sensor-1",
        "python -m ops.doctor --env dev sensor-1 --send",
        "python -m ops.doctor --env dev sensor-1 --customer acme --format json",
    ],
    statuses=[*(stage.status for stage in STAGES), ExitStatus.PROBE],
)
@cli.environment_option()
@cli.channel_option("Contract (channel) of the messages.")
@click.option("--send", is_flag=True, help="Publish one reading and follow it to its row.")
@click.option(
    "--take-over",
    is_flag=True,
    help="Connect even while a publisher on this machine uses this identity. The publisher is "
    "disconnected, and reconnects.",
)
@click.option(
    "--no-connect",
    is_flag=True,
    help="Never connect. Use it if a publisher that doctor cannot see uses this identity, for "
    "example on another machine.",
)
@cli.format_option("text", "json", text="Format of stdout; json: one object per line.")
@cli.customer_option("Examine this customer's identity and messages.")
@click.argument("thing_name", metavar="THING", callback=cli.thing_name)
def main(
    environment: str,
    thing_name: str,
    *,
    channel: str,
    send: bool,
    take_over: bool,
    no_connect: bool,
    output_format: str,
    customer: str | None,
) -> None:
    """Find out why THING's messages do not appear.

    Checks every hop from the identity's files to the Athena table, and prints one line per check:
    ok, failed, or skipped with the reason. A failure comes with the command or sentence that
    fixes it. Changes nothing, and needs read permissions only: the docstring of
    ops/doctor/__init__.py has them as a policy. The exit status is that of the first stage that
    failed.

    The broker keeps one connection per identity. While a publisher of THING runs on this machine,
    doctor does not connect, unless --take-over is given. It recognizes publishers by their spool:
    device.publish and device.open have one, device.simulate does not.
    """
    if no_connect and (send or take_over):
        raise click.UsageError(
            f"expected --no-connect or {'--send' if send else '--take-over'}, got both"
        )
    environments.settings_of(environment)  # a wrong name is not the device's fault: fail here
    cli.check_customer(environment, thing_name, customer)
    context = Context(environment, thing_name, channel, PROJECT_ROOT, customer, take_over)
    stages = chosen(connect=not no_connect, send=send)
    findings = []
    for finding in examine(context, stages):
        if output_format == "json":
            cli.echo_json(asdict(finding))
        else:
            word = click.style(f"{finding.outcome:<7}", fg=_COLOURS[finding.outcome])
            click.echo(f"{word}  {_line(finding)}")
        findings.append(finding)
    if output_format == "text":
        click.echo(_conclusion(findings, sent=send))
    raise SystemExit(first_status(findings, stages))


def _conclusion(findings: list[Finding], *, sent: bool) -> str:
    """Repeat the failures, for a person who does not scroll back."""
    failed = [finding for finding in findings if finding.outcome is CheckOutcome.FAILED]
    skipped = sum(finding.outcome is CheckOutcome.SKIPPED for finding in findings)
    counts = f"\n{cli.counted(len(findings), 'check')}, {len(failed)} failed, {skipped} skipped"
    if failed:
        return "\n".join((f"{counts}:", *(f"  {_line(finding)}" for finding in failed)))
    return counts if sent else f"{counts}; --send follows a reading to its row"


def _line(finding: Finding) -> str:
    line = f"{finding.stage} · {finding.check}: {printable(finding.detail)}"
    return line if finding.remedy is None else f"{line}\n         → {printable(finding.remedy)}"


if __name__ == "__main__":
    main(prog_name="python -m ops.doctor")
