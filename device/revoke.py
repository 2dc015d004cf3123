"""Take a thing's certificates out of use: ``python -m device.revoke --env ENV THING``.

Every certificate of the thing is revoked, from wherever it was used; then its live connection is
ended. AWS IoT ends the connections of a revoked certificate by itself within minutes; an endpoint
that cannot end one at once is told of, and changes nothing in that. ``--delete`` goes on to
detach and delete the certificates and the thing. Interrupted, run it again.

The identity's folder is left where it is: what was revoked there identifies nobody.

The credentials need, of ``iot:``, ``DescribeEndpoint``, ``DescribeThing``,
``ListThingPrincipals``, ``DescribeCertificate``, ``UpdateCertificate`` and ``DeleteConnection``;
for ``--delete`` also ``UpdateThing``, ``ListAttachedPolicies``, ``DetachPolicy``,
``ListPrincipalThings``, ``DetachThingPrincipal``, ``DeleteCertificate`` and ``DeleteThing``.
"""

from collections.abc import Callable

import click
from botocore.exceptions import BotoCoreError, ClientError

from device import aws, cli, retirement
from device.errors import AwsError, ExitStatus

# Attribute of a thing that is being deleted: the certificate that is being detached from it.
_RETIRING = "retiring"


def certificates_of(environment: aws.AwsEnvironment, thing_name: str) -> list[str]:
    """ARNs of the thing's certificates, one that an interrupted run has detached included.

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
                f"python -m device.list --env {environment.name}",
                ExitStatus.CONFLICT,
            ) from None
        pages = iot.get_paginator("list_thing_principals").paginate(thingName=thing_name)
        arns = {arn for page in pages for arn in page["principals"] if ":cert/" in arn}
        if _RETIRING in thing["attributes"]:
            owner = thing["thingArn"].partition(":thing/")[0]
            arns.add(f"{owner}:cert/{thing['attributes'][_RETIRING]}")
        return sorted(arns)


def revoke(
    environment: aws.AwsEnvironment,
    thing_name: str,
    certificate_arns: list[str],
    report: Callable[[str], None],
    *,
    delete: bool,
) -> None:
    """Revoke the certificates, end the thing's connection and, to ``delete``, remove them all.

    Raises:
        AwsError: AWS IoT refuses.
    """
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        # All of them before anything else: from here on nobody can connect as this thing.
        for arn in certificate_arns:
            retirement.deactivate(iot, arn, "REVOKED", report)
        _disconnect(environment, thing_name, report)
        if delete:
            for arn in certificate_arns:
                # Once detached it could not be found again, were this run to end there.
                retiring = {_RETIRING: arn.rpartition("/")[2]}
                iot.update_thing(
                    thingName=thing_name,
                    attributePayload={"attributes": retiring, "merge": True},
                )
                retirement.retire(iot, arn, report)
            iot.delete_thing(thingName=thing_name)
            report(f"thing {thing_name}: deleted")


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
@click.option("--env", "environment", required=True, help="Environment of cdk.json: dev, local, …")
@click.option("--delete", is_flag=True, help="Delete the certificates and the thing, too.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@click.argument("thing_name", metavar="THING", callback=cli.thing_name)
def main(environment: str, thing_name: str, *, delete: bool, yes: bool) -> None:
    """Revoke every certificate of THING, and end its connection.

    Asks first. Prints the ids of the certificates, one a line.
    """
    opened = aws.session_for(environment)
    arns = certificates_of(opened, thing_name)
    ids = [arn.rpartition("/")[2] for arn in arns]
    if not yes:
        what = "Revoke and delete" if delete else "Revoke"
        held = ", ".join(ids) or "no certificate"
        click.confirm(
            f"{what} {thing_name} in {environment}, account {opened.account} ({held})?",
            abort=True,
            err=True,
        )
    revoke(opened, thing_name, arns, cli.say, delete=delete)
    for certificate_id in ids:
        click.echo(certificate_id)


if __name__ == "__main__":
    main(prog_name="python -m device.revoke")
