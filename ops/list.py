"""List things and their certificates: ``python -m ops.list --env ENV``.

Prints every thing of the environment's group with its certificates: their age and status, the
customer that a certificate is for, and when the thing was last connected, if fleet indexing
knows it. Warns of certificates that

- are shared: attached to more than one thing, so that one key speaks for several devices
- are old: issued more than a year ago; run ``device.rotate``
- are not active, but still attached
- have the environment's device policy, or a customer's, but are attached to no thing
- are attached to a thing of the environment, but have no policy of the environment

The credentials need, of ``iot:``, ``ListThingsInThingGroup``, ``ListThingPrincipals``,
``ListPolicies``, ``ListTargetsForPolicy``, ``DescribeCertificate``, ``ListPrincipalThings`` and
``SearchIndex``.
"""

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

from contracts import names
from device import aws, cli
from device.errors import AwsError, ExitStatus
from device.registry import customers

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

_OLD = timedelta(days=365)

_COLUMNS = ("thing", "customer", "certificate", "status", "days", "last connection", "warnings")


@dataclass(frozen=True, slots=True)
class Registration:
    """A certificate of a thing, a thing without a certificate, or a certificate without a thing.

    Attributes:
        thing_name: Name of the thing; None if the certificate is attached to no thing.
        certificate_id: AWS IoT's id of the certificate; None if the thing has no certificate.
        status: Status of the certificate in AWS IoT.
        age_days: Days since the certificate was issued.
        last_connection: When the thing last connected or disconnected; None if unknown.
        warnings: Findings that a person should check.
        customer: The customer that the certificate is for; None if it is the thing's own.
    """

    thing_name: str | None
    certificate_id: str | None = None
    status: str | None = None
    age_days: int | None = None
    last_connection: datetime | None = None
    warnings: tuple[str, ...] = ()
    customer: str | None = None


def registrations(environment: aws.AwsEnvironment) -> list[Registration]:
    """List the things and certificates of ``environment``, sorted by thing name.

    Raises:
        AwsError: The environment is not deployed, or AWS IoT refuses.
    """
    iot = environment.session.client("iot")
    group = names.thing_group_name(environment.name)
    policy = names.device_policy_name(environment.name)
    with aws.explained(environment.name):
        try:
            things = sorted(
                aws.listed(iot, "list_things_in_thing_group", "things", thingGroupName=group)
            )
            carriers = dict.fromkeys(_targets(iot, policy))
        except iot.exceptions.ResourceNotFoundException:
            raise AwsError(
                f"expected the thing group {group} and the policy {policy}, got one or neither",
                ExitStatus.NO_STACK,
                remedy=f"run {aws.deploy_command(environment.name)}",
            ) from None
        policies = list(customers.policies(iot, environment.name))
        targets = aws.in_threads(partial(_targets, iot), [found.policy_name for found in policies])
        for found, its_targets in zip(policies, targets, strict=True):
            carriers.update(dict.fromkeys(its_targets, found.customer))
        certificates = aws.in_threads(partial(_certificates, iot), things)
        held = dict(zip(things, certificates, strict=True))
        attached = {arn for arns in held.values() for arn in arns}
        arns = sorted(arn for arn in attached | set(carriers) if ":cert/" in arn)
        described = dict(zip(arns, aws.in_threads(partial(_describe, iot), arns), strict=True))
    connections = _connections(iot, group)
    made = []
    for thing, its_arns in held.items():
        last = connections.get(thing)
        if not its_arns:
            made.append(Registration(thing, last_connection=last, warnings=("no certificate",)))
        for arn in its_arns:
            customer = carriers.get(arn)
            entry = _registration(thing, arn, *described[arn])
            if arn not in carriers:
                foreign = f"has no policy of environment {environment.name}"
                entry = replace(entry, warnings=(*entry.warnings, foreign))
            # Fleet indexing knows only the thing's own connection.
            last_of_it = last if customer is None else None
            made.append(replace(entry, last_connection=last_of_it, customer=customer))
    for arn in arns:
        description, its_things = described[arn]
        if not its_things and description:
            entry = _registration(None, arn, description, its_things)
            made.append(replace(entry, customer=carriers.get(arn)))
    return made


def _targets(iot: "IoTClient", policy_name: str) -> list[str]:
    return list(aws.listed(iot, "list_targets_for_policy", "targets", policyName=policy_name))


def _certificates(iot: "IoTClient", thing: str) -> list[str]:
    principals = aws.listed(iot, "list_thing_principals", "principals", thingName=thing)
    return sorted(arn for arn in principals if ":cert/" in arn)


def _describe(iot: "IoTClient", arn: str) -> tuple[dict[str, Any], list[str]]:
    """The certificate's description, empty if it was just deleted, and its things."""
    try:
        answer = iot.describe_certificate(certificateId=arn.rpartition("/")[2])
        things = list(aws.listed(iot, "list_principal_things", "things", principal=arn))
    except iot.exceptions.ResourceNotFoundException:
        return {}, []
    return dict(answer["certificateDescription"]), things


def _registration(
    thing: str | None,
    arn: str,
    description: dict[str, Any],
    things: list[str],
) -> Registration:
    age = datetime.now(UTC) - description["creationDate"] if description else timedelta()
    status = description.get("status", "DELETED")
    others = sorted(set(things) - {thing})
    warnings = []
    if thing is None:
        warnings.append("attached to no thing")
    elif others:
        warnings.append(f"shared with {', '.join(others)}")
    if age > _OLD:
        warnings.append(f"older than {_OLD.days} days")
    if thing is not None and status != "ACTIVE":
        warnings.append(f"{status.lower()}, but attached")
    certificate_id = arn.rpartition("/")[2]
    return Registration(thing, certificate_id, status, age.days, warnings=tuple(warnings))


def _connections(iot: "IoTClient", group: str) -> dict[str, datetime]:
    """When each thing last connected or disconnected; empty without fleet indexing."""
    found: dict[str, datetime] = {}
    arguments: dict[str, Any] = {"queryString": f"thingGroupNames:{group}"}
    try:
        while True:
            answer = iot.search_index(**arguments)
            for thing in answer.get("things", []):
                moment = thing.get("connectivity", {}).get("timestamp")
                if moment:
                    found[thing["thingName"]] = datetime.fromtimestamp(moment / 1000, UTC)
            if not answer.get("nextToken"):
                return found
            arguments["nextToken"] = answer["nextToken"]
    except ClientError:  # there is no index, or no permission to search it
        return found


@click.command(
    cls=cli.Command,
    examples=[
        "python -m ops.list --env dev",
        "python -m ops.list --env dev --format json",
    ],
    statuses=cli.AWS_STATUSES,
)
@cli.environment_option()
@cli.format_option("table", "json", text="Format of stdout; json prints one object per line.")
def main(environment: str, *, output_format: str) -> None:
    """List the things of ENV and their certificates, with warnings."""
    found = registrations(aws.session_for(environment))
    if not found:
        cli.say(f"environment {environment} has no things and no certificates")
        return
    if output_format == "json":
        for entry in found:
            last = entry.last_connection
            moment = None if last is None else cli.utc(last)
            cli.echo_json({**asdict(entry), "last_connection": moment})
    else:
        _print_table(found)
    things = {entry.thing_name for entry in found if entry.thing_name is not None}
    certificates = {entry.certificate_id for entry in found if entry.certificate_id is not None}
    warned = sum(bool(entry.warnings) for entry in found)
    cli.say(
        f"{cli.counted(len(things), 'thing')}, {cli.counted(len(certificates), 'certificate')}, "
        f"{cli.counted(warned, 'line')} with a warning"
    )


def _print_table(found: Iterable[Registration]) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for entry in found:
        last = entry.last_connection
        cells = (
            entry.thing_name,
            entry.customer,
            entry.certificate_id,
            entry.status,
            entry.age_days,
            None if last is None else cli.utc(last),
            "; ".join(entry.warnings),
        )
        table.add_row(*("-" if cell is None else str(cell) for cell in cells))
    # A pipe has no width, and a program cannot use a truncated id.
    width = None if sys.stdout.isatty() else 400
    Console(markup=False, highlight=False, width=width).print(table)


if __name__ == "__main__":
    main(prog_name="python -m ops.list")
