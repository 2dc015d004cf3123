"""Give a device its identity: ``python -m device.provision --env ENV THING``.

The command makes a key on this machine, has AWS IoT sign a certificate for it, registers the thing,
attaches certificate and policy, writes ``certs/{env}/{thing}/`` (see the package's docstring) and
finally activates the certificate. After an interruption, run it again: it completes the identity
with the same certificate. On a complete identity, it checks every part, restores what is missing
and says what it changed. If the certificate was revoked or deleted, it makes a new key.

``--from things.csv`` does this for every thing of the file's column ``thing_name``, a few at a
time. It starts only if every line has a name, continues after a thing that fails, and ends with the
status of the first failure. Run it again to complete what is missing.

``--customer NAME`` gives a customer of the thing an identity of its own, limited to the sub-topics
``dt/{env}/{thing}/{channel}/{customer}`` by a policy of its own. Run it again after adding a
contract, so that the policy allows the new channel.

``--claim`` runs on a device without AWS credentials. The device registers itself with a claim
certificate, which ``ops.claim`` makes: see ``device.registry.enrolment``.

``device.registry.registration`` says what only a person may do, and lists the permissions.
"""

from pathlib import Path
from typing import TextIO

import click

from contracts import names
from device import cli, identity
from device.cli import Progress
from device.errors import DeviceError, ExitStatus
from device.registry import things_table


@click.command(
    cls=cli.Command,
    examples=[
        "python -m device.provision --env dev sensor-1",
        "python -m device.provision --env dev sensor-1 --customer acme",
        "python -m device.provision --env dev --from things.csv",
        "python -m device.provision --env dev sensor-2 --claim",
    ],
    statuses=(
        ExitStatus.REFUSED,
        ExitStatus.CONNECTION_REFUSED,
        ExitStatus.IDENTITY,
        ExitStatus.CONFLICT,
        *cli.AWS_STATUSES,
    ),
)
@cli.environment_option()
@click.option(
    "--from",
    "table",
    type=click.File("r", encoding="utf-8-sig"),
    metavar="CSV",
    help="Provision every thing in the column thing_name of this CSV file.",
)
@click.option(
    "--claim",
    is_flag=False,
    flag_value="",
    metavar="[DIR]",
    help="Register with the claim certificate in DIR, without AWS credentials.  "
    "[default DIR: certs/ENV/@claim]",
)
@cli.customer_option("Provision this customer of THING, limited to its own sub-topics.")
@click.argument("thing_name", metavar="THING", required=False, callback=cli.thing_name)
def main(
    environment: str,
    thing_name: str | None,
    *,
    claim: str | None,
    customer: str | None,
    table: TextIO | None,
) -> None:
    """Give THING its identity: key, certificate, registration, and a folder under certs/.

    Prints the folder. Run it again to complete an interrupted run or to restore what is missing;
    it changes nothing else.
    """
    if (thing_name is None) == (table is None):
        raise click.UsageError("expected either THING or --from CSV")
    if sum(option is not None for option in (table, customer, claim)) > 1:
        raise click.UsageError("expected at most one of --from, --customer and --claim")
    if table is not None:
        _provision_table(environment, table)
    elif thing_name is not None:
        cli.check_customer(environment, thing_name, customer)
        _provision_one(environment, thing_name, customer, claim)


def _provision_one(
    environment: str, thing_name: str, customer: str | None, claim: str | None
) -> None:
    changes = []

    def report(change: str) -> None:
        changes.append(change)
        cli.say(change)

    if claim is not None:
        from device.registry import enrolment  # noqa: PLC0415  # only this needs the MQTT client

        folder = Path(claim) if claim else identity.folder_of(environment, names.CLAIM)
        loaded = enrolment.load_claim(environment, folder)
        made = enrolment.enrol(loaded, thing_name, report, root=identity.PROJECT_ROOT)
    else:
        from device import aws  # noqa: PLC0415  # needs boto3
        from device.registry import registration  # noqa: PLC0415  # needs boto3

        opened = aws.session_for(environment)
        made = registration.provision(opened, thing_name, report, customer=customer)
    if not changes:
        cli.say(f"{made.device.client_id} is provisioned already; nothing changed")
    click.echo(str(made.folder))


def _provision_table(environment: str, table: TextIO) -> None:
    things, bad = things_table.read(table)
    for line in bad:
        cli.say(f"error: {line}")
    if bad:
        raise DeviceError(
            f"expected a thing name on every line, got {cli.counted(len(bad), 'bad line')}; "
            "nothing was provisioned",
            ExitStatus.USAGE,
            remedy="correct the file and run this again",
        )
    if not things:
        cli.say(f"{table.name} names no thing; nothing to do")
        return
    from device import aws  # noqa: PLC0415  # needs boto3
    from device.registry import registration  # noqa: PLC0415  # needs boto3

    provisioner = registration.Provisioner(aws.session_for(environment))
    failures: list[DeviceError] = []
    total = cli.counted(len(things), "thing")
    with Progress(total=len(things)) as progress:
        results = things_table.each(
            things, lambda name: provisioner.provision(name, lambda _: None)
        )
        for done, (row, result) in enumerate(results, start=1):
            if isinstance(result, DeviceError):
                failures.append(result)
                progress.say(f"error: line {row.line}: {row.thing_name}: {result}")
            else:
                click.echo(str(result.folder))
            progress.show(done, f"{done} of {total}, {len(failures)} failed")
    if failures:
        raise DeviceError(
            f"{len(failures)} of {total} failed",
            failures[0].status,
            remedy="resolve the errors above and run this again: it completes what is missing",
        )


if __name__ == "__main__":
    main()
