"""Take certificates out of use: ``python -m ops.revoke --env ENV THING``.

The command revokes every certificate of the thing and of its customers, and ends their connections.
AWS IoT also ends the connections of a revoked certificate by itself, within minutes.
``--delete`` then detaches and deletes the certificates, the customers' policies and the thing, and
removes key and certificate from this machine, if they are here. ``--customer NAME`` does the same
for one customer of the thing only.

``--all`` revokes and deletes every thing, customer and claim certificate of the environment. AWS
IoT does not delete a policy that is attached to a certificate, so ``cdk destroy`` succeeds only
after this.

The command changes only what belongs to the environment (``device.registry.ownership``). After an
interruption, run the same command again.

The credentials need, of ``iot:``, ``DescribeEndpoint``, ``DescribeThing``,
``ListThingGroupsForThing``, ``ListThingPrincipals``, ``ListAttachedPolicies``, ``ListPolicies``,
``ListTargetsForPolicy``, ``DescribeCertificate``, ``UpdateCertificate`` and ``DeleteConnection``;
for ``--delete`` and ``--all`` also ``UpdateThing``, ``ListPrincipalThings``,
``DetachThingPrincipal``, ``DeleteCertificate``, ``ListPolicyVersions``, ``DeletePolicyVersion``,
``DeletePolicy``, ``RemoveThingFromThingGroup``, ``DeleteThing`` and ``ListThingsInThingGroup``.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from contracts import names
from device import aws, cli, files, identity
from device.errors import ExitStatus, IdentityError
from device.registry import customers, holdings, retirement
from device.registry.holdings import Everything, Holder
from ops import claim

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

# https://docs.aws.amazon.com/iot/latest/apireference/API_iotdata_DeleteConnection.html
_NOT_CONNECTED = "ResourceNotFoundException"


def _id(certificate_arn: str) -> str:
    return certificate_arn.rpartition("/")[2]


def revoke(
    environment: aws.AwsEnvironment,
    holder: Holder,
    report: Callable[[str], None],
    *,
    delete: bool,
) -> None:
    """Revoke the certificates of ``holder`` and end their connections; optionally delete all.

    Args:
        environment: The environment of the thing.
        holder: The result of ``holdings.find``.
        report: Called with a line of text for each thing that changed.
        delete: Also delete the certificates, the customers' policies and the thing (unless the
            holder is one customer), and the identities on this machine.

    Raises:
        AwsError: AWS IoT refuses.
        IdentityError: An identity on this machine cannot be removed.
    """
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        # Revoke all of them first: from here on no device can connect with them.
        for arn in holder.certificates:
            retirement.deactivate(iot, arn, "REVOKED", report)
        connections = _connections(environment)
        _take_out(environment, iot, connections, holder, report, delete=delete)


def revoke_everything(
    environment: aws.AwsEnvironment, everything: Everything, report: Callable[[str], None]
) -> None:
    """Revoke and delete every identity of ``environment``, in AWS IoT and on this machine.

    Args:
        environment: The environment.
        everything: The result of ``holdings.find_everything``.
        report: Called with a line of text for each thing that changed, by several threads.

    Raises:
        AwsError: AWS IoT refuses.
        IdentityError: An identity on this machine cannot be removed.
    """
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        aws.in_threads(
            lambda arn: retirement.deactivate(iot, arn, "REVOKED", report),
            everything.certificate_arns,
        )
        connections = _connections(environment)
        aws.in_threads(
            lambda holder: _take_out(environment, iot, connections, holder, report, delete=True),
            everything.holders,
        )
        if everything.loose:
            folder = identity.folder_of(environment.name, "", environment.root)
            clients = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            _discard_here(environment, clients, everything.loose, report)
        aws.in_threads(lambda arn: retirement.retire(iot, arn, report), everything.loose)
        aws.in_threads(
            lambda policy: customers.delete_policy(iot, policy.policy_name, report),
            everything.policies,
        )
    claim.revoke(environment, list(everything.claims), report)


def _take_out(
    environment: aws.AwsEnvironment,
    iot: "IoTClient",
    connections: Any,
    holder: Holder,
    report: Callable[[str], None],
    *,
    delete: bool,
) -> None:
    """End the connections of ``holder``, whose certificates are revoked; optionally delete all."""
    thing_name = holder.thing_name
    for arn, owner in holder.foreign.items():
        report(f"certificate {_id(arn)}: left alone; it belongs to environment {owner}")
    clients = [names.client_id(thing_name, policy.customer) for policy in holder.policies]
    if holder.customer is None:
        clients.insert(0, thing_name)
    if not holder.shared_with:
        for client in clients:
            _disconnect(connections, client, report)
    if not delete:
        return
    _discard_here(environment, clients, holder.certificates, report)
    for arn in holder.certificates:
        # A later run finds a detached certificate only by this note.
        _note_retiring(iot, thing_name, _id(arn))
        retirement.retire(iot, arn, report)
    for policy in holder.policies:
        customers.delete_policy(iot, policy.policy_name, report)
    if holder.customer is not None:
        _note_retiring(iot, thing_name, "")
    elif holder.shared_with:
        group = names.thing_group_name(environment.name)
        iot.remove_thing_from_thing_group(thingGroupName=group, thingName=thing_name)
        report(f"thing {thing_name}: kept for {' and '.join(sorted(holder.shared_with))}")
    else:
        iot.delete_thing(thingName=thing_name)
        report(f"thing {thing_name}: deleted")


def _discard_here(
    environment: aws.AwsEnvironment,
    clients: Iterable[str],
    certificate_arns: Iterable[str],
    report: Callable[[str], None],
) -> None:
    """Remove the revoked identities on this machine, and report those on other machines."""
    missing = set(map(_id, certificate_arns))
    for client in clients:
        folder = identity.folder_of(environment.name, client, environment.root)
        try:
            certificate_id = identity.read_device(folder).certificate_id
        except IdentityError as error:
            if (folder / identity.DEVICE_FILE).exists():
                report(f"{folder}: left alone: {error.message}")
            continue  # there is no identity, or an incomplete one
        if certificate_id in missing:
            missing.remove(certificate_id)
            with files.working_in(folder, environment.root):
                identity.discard(folder)
            report(f"{folder}: key and certificate removed")
    for certificate_id in sorted(missing):
        report(
            f"certificate {certificate_id}: its key is not on this machine; "
            "delete it from the machine that has it"
        )


def _note_retiring(iot: "IoTClient", thing_name: str, certificate_id: str) -> None:
    """Store on the thing which certificate is being detached; an empty id means none."""
    attributes = {holdings.RETIRING: certificate_id}
    iot.update_thing(
        thingName=thing_name, attributePayload={"attributes": attributes, "merge": True}
    )


def _connections(environment: aws.AwsEnvironment) -> Any:
    """The client of the API that ends connections; None for the emulator, which cannot end any."""
    if environment.name == aws.LOCAL:
        return None
    session = environment.session
    answer = session.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
    return session.client("iot-data", endpoint_url=f"https://{answer['endpointAddress']}")


def _disconnect(connections: Any, client_id: str, report: Callable[[str], None]) -> None:
    """End the connection of ``client_id``, if there is one."""
    if connections is None:
        report(
            f"client {client_id}: an open connection stays open, since the emulator cannot end it; "
            "the next connection is refused"
        )
        return
    try:
        connections.delete_connection(clientId=client_id)
        report(f"client {client_id}: disconnected")
    except (ClientError, BotoCoreError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        if code == _NOT_CONNECTED:
            report(f"client {client_id}: not connected")
        else:
            report(
                f"client {client_id}: not disconnected at once ({code}); "
                "AWS IoT ends a revoked certificate's connection within minutes"
            )


@click.command(
    cls=cli.Command,
    examples=[
        "python -m ops.revoke --env dev sensor-1",
        "python -m ops.revoke --env dev sensor-1 --customer acme --delete --yes",
        "python -m ops.revoke --env dev --all",
    ],
    statuses=(ExitStatus.CONFLICT, ExitStatus.DECLINED, *cli.AWS_STATUSES),
)
@cli.environment_option()
@click.option("--all", "everything", is_flag=True, help="Revoke and delete every identity of ENV.")
@click.option("--delete", is_flag=True, help="Also delete certificates, thing, and local key.")
@click.option("--yes", is_flag=True, help="Revoke without asking; for scripts.")
@cli.customer_option("Revoke only this customer of THING.")
@click.argument("thing_name", metavar="[THING]", required=False, callback=cli.thing_name)
def main(
    environment: str,
    thing_name: str | None,
    *,
    everything: bool,
    delete: bool,
    yes: bool,
    customer: str | None,
) -> None:
    """Revoke every certificate of THING and of its customers, and end their connections.

    With --all, revoke and delete every identity of ENV: things, certificates, customers' policies
    and claim certificates. Run it before cdk destroy.

    Asks for confirmation. Prints the ids of the certificates, one per line.
    """
    if everything == (thing_name is not None):
        raise click.UsageError("expected either THING or --all")
    if everything and (delete or customer is not None):
        raise click.UsageError("expected --all without --delete and --customer")
    if thing_name is None:
        _main_everything(aws.session_for(environment), yes=yes)
        return
    cli.check_customer(environment, thing_name, customer)
    opened = aws.session_for(environment)
    holder = holdings.find(opened, thing_name, customer)
    name = f"thing {thing_name}" + (f", customer {customer}" if customer else "")
    if not delete and set(holder.certificates.values()) <= {"REVOKED"}:
        done = "is revoked already" if holder.certificates else "has no certificate"
        cli.say(f"{name} {done} in environment {environment}; nothing to do")
        return
    ids = [_id(arn) for arn in holder.certificates]
    if not yes:
        what = "Revoke and delete" if delete else "Revoke"
        held = ", ".join(ids) or "no certificate"
        cli.confirm(f"{what} {name} in {environment}, account {opened.account} ({held})?")
    revoke(opened, holder, cli.say, delete=delete)
    for certificate_id in ids:
        click.echo(certificate_id)


def _main_everything(opened: aws.AwsEnvironment, *, yes: bool) -> None:
    found = holdings.find_everything(opened)
    if not (found.holders or found.certificate_arns or found.policies):
        cli.say(f"environment {opened.name} has no identities; nothing to do")
        return
    if not yes:
        counts = (
            cli.counted(len(found.holders), "thing"),
            cli.counted(len(found.certificate_arns), "certificate"),
            f"{cli.counted(len(found.claims), 'claim certificate')} among them",
        )
        cli.confirm(
            f"Revoke and delete every identity of {opened.name}, account {opened.account} "
            f"({', '.join(counts)})?"
        )
    revoke_everything(opened, found, cli.say)
    for arn in found.certificate_arns:
        click.echo(_id(arn))


if __name__ == "__main__":
    main(prog_name="python -m ops.revoke")
