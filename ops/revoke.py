"""Take a thing's certificates out of use: ``python -m ops.revoke --env ENV THING``.

Every certificate of the thing is revoked, its customers' among them, from wherever it was used;
then live connections are ended. AWS IoT ends the connections of a revoked certificate by itself
within minutes; an endpoint that cannot end one at once is told of, and changes nothing in that.
``--delete`` goes on to detach and delete the certificates, the customers' policies and the thing.
``--customer NAME`` does so for one customer of the thing only. Interrupted, run it again.

The identity's folder is left where it is: what was revoked there identifies nobody.

The credentials need, of ``iot:``, ``DescribeEndpoint``, ``DescribeThing``,
``ListThingPrincipals``, ``ListPolicies``, ``ListTargetsForPolicy``, ``DescribeCertificate``,
``UpdateCertificate`` and ``DeleteConnection``; for ``--delete`` also ``UpdateThing``,
``ListAttachedPolicies``, ``DetachPolicy``, ``ListPrincipalThings``, ``DetachThingPrincipal``,
``DeleteCertificate``, ``ListPolicyVersions``, ``DeletePolicyVersion``, ``DeletePolicy`` and
``DeleteThing``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from botocore.exceptions import BotoCoreError, ClientError

from contracts import names
from device import aws, cli
from device.errors import AwsError, ExitStatus
from device.registry import customers, retirement
from device.registry.customers import CustomerPolicy

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

# Attribute of a thing that is being deleted: the certificate that is being detached from it.
_RETIRING = "retiring"


def certificates_of(
    environment: aws.AwsEnvironment, thing_name: str, customer: str | None = None
) -> list[str]:
    """ARNs of the thing's certificates, or of one customer's of it.

    One that an interrupted run has detached is among them.

    Raises:
        AwsError: There is no such thing, or it could not be looked up.
    """
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        try:
            thing = iot.describe_thing(thingName=thing_name)
        except iot.exceptions.ResourceNotFoundException:
            raise AwsError(
                f"expected a thing of {environment.name}, got {thing_name}, which is none; run "
                f"python -m ops.list --env {environment.name}",
                ExitStatus.CONFLICT,
            ) from None
        arns = set()
        if customer is None:
            pages = iot.get_paginator("list_thing_principals").paginate(thingName=thing_name)
            arns |= {arn for page in pages for arn in page["principals"]}
        for policy in _policies(iot, environment, thing_name, customer):
            # An interrupted provisioning may not have attached it to the thing.
            targets = iot.get_paginator("list_targets_for_policy")
            for found in targets.paginate(policyName=policy.policy_name):
                arns |= set(found["targets"])
        if thing["attributes"].get(_RETIRING):
            owner = thing["thingArn"].partition(":thing/")[0]
            arns.add(f"{owner}:cert/{thing['attributes'][_RETIRING]}")
        return sorted(arn for arn in arns if ":cert/" in arn)


def revoke(
    environment: aws.AwsEnvironment,
    thing_name: str,
    certificate_arns: list[str],
    report: Callable[[str], None],
    *,
    delete: bool,
    customer: str | None = None,
) -> None:
    """Revoke the certificates, end their connections and, to ``delete``, remove them all.

    Args:
        environment: Where the thing belongs.
        thing_name: Whose they are; deleted too, unless it is about a customer.
        certificate_arns: What ``certificates_of`` gives.
        report: Called with a line of text for each thing that changed.
        delete: Go on to delete certificates, customers' policies and the thing.
        customer: Only that customer's connection and policy.

    Raises:
        AwsError: AWS IoT refuses.
    """
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        policies = _policies(iot, environment, thing_name, customer)
        # All of them before anything else: from here on nobody can connect with these.
        for arn in certificate_arns:
            retirement.deactivate(iot, arn, "REVOKED", report)
        if customer is None:
            _disconnect(environment, thing_name, report)
        for policy in policies:
            _disconnect(environment, names.client_id(thing_name, policy.customer), report)
        if not delete:
            return
        for arn in certificate_arns:
            # Once detached it could not be found again, were this run to end there.
            _note_retiring(iot, thing_name, arn.rpartition("/")[2])
            retirement.retire(iot, arn, report)
        for policy in policies:
            customers.delete_policy(iot, policy.policy_name, report)
        if customer is None:
            iot.delete_thing(thingName=thing_name)
            report(f"thing {thing_name}: deleted")
        else:
            _note_retiring(iot, thing_name, "")


def _policies(
    iot: "IoTClient", environment: aws.AwsEnvironment, thing_name: str, customer: str | None
) -> list[CustomerPolicy]:
    """The policies of the thing's customers, or of one of them."""
    return [
        policy
        for policy in customers.policies(iot, environment.name)
        if policy.thing_name == thing_name and customer in (None, policy.customer)
    ]


def _note_retiring(iot: "IoTClient", thing_name: str, certificate_id: str) -> None:
    """Have the thing remember which certificate is being detached; empty: none is."""
    attributes = {_RETIRING: certificate_id}
    iot.update_thing(
        thingName=thing_name, attributePayload={"attributes": attributes, "merge": True}
    )


def _disconnect(
    environment: aws.AwsEnvironment, client_id: str, report: Callable[[str], None]
) -> None:
    """End the live connection of ``client_id``, if there is one and the endpoint can."""
    session = environment.session
    url = None
    if environment.name != aws.LOCAL:
        answer = session.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
        url = f"https://{answer['endpointAddress']}"
    try:
        session.client("iot-data", endpoint_url=url).delete_connection(clientId=client_id)
        report(f"client {client_id}: disconnected")
    except (ClientError, BotoCoreError) as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") == _NOT_CONNECTED:
            report(f"client {client_id}: not connected")
        else:
            report(
                f"client {client_id}: not disconnected ({' '.join(str(error).split())}); "
                "AWS IoT ends a revoked certificate's connection within minutes"
            )


# https://docs.aws.amazon.com/iot/latest/apireference/API_iotdata_DeleteConnection.html
_NOT_CONNECTED = "ResourceNotFoundException"


@click.command(cls=cli.Command)
@cli.environment_option()
@click.option("--delete", is_flag=True, help="Delete the certificates and the thing, too.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@cli.customer_option("Only this customer of THING; the thing and its others stay.")
@click.argument("thing_name", metavar="THING", callback=cli.thing_name)
def main(
    environment: str, thing_name: str, *, delete: bool, yes: bool, customer: str | None
) -> None:
    """Revoke every certificate of THING, its customers' too, and end their connections.

    Asks first. Prints the ids of the certificates, one a line.
    """
    cli.check_customer(environment, thing_name, customer)
    opened = aws.session_for(environment)
    arns = certificates_of(opened, thing_name, customer)
    ids = [arn.rpartition("/")[2] for arn in arns]
    if not yes:
        what = "Revoke and delete" if delete else "Revoke"
        name = names.client_id(thing_name, customer)
        held = ", ".join(ids) or "no certificate"
        click.confirm(
            f"{what} {name} in {environment}, account {opened.account} ({held})?",
            abort=True,
            err=True,
        )
    revoke(opened, thing_name, arns, cli.say, delete=delete, customer=customer)
    for certificate_id in ids:
        click.echo(certificate_id)


if __name__ == "__main__":
    main(prog_name="python -m ops.revoke")
