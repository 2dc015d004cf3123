"""Make the certificate that devices register with: ``python -m ops.claim --env ENV``.

The certificate is written to ``certs/{env}/@claim/``, in the form of an identity. Copy that folder
to new devices: each registers itself with ``python -m device.provision --env ENV THING --claim``.
The certificate can do nothing else, and registers only names that no device has. Anyone who has it
can register devices: keep it as safe as a key, and revoke it when it is lost or no longer needed.

``--revoke`` takes every claim certificate of the environment out of use, also those that were made
on another machine, and deletes them. Registered devices keep working. Both commands can be
interrupted and run again.

The credentials need ``cloudformation:DescribeStacks`` and, of ``iot:``, ``DescribeEndpoint``,
``CreateCertificateFromCsr``, ``ListCertificates``, ``DescribeCertificate``, ``AttachPolicy`` and
``UpdateCertificate``; for ``--revoke`` ``ListTargetsForPolicy``, ``ListAttachedPolicies``,
``ListPrincipalThings``, ``DetachThingPrincipal`` and ``DeleteCertificate``.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contracts import names
from device import aws, cli, files, identity
from device.errors import AwsError, ExitStatus
from device.identity import DeviceConfig, Identity
from device.registry import certificates, holdings, ownership, retirement
from device.registry.registration import ONCE, attach_policy

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient


def make(environment: aws.AwsEnvironment, report: Callable[[str], None]) -> Identity:
    """Return the claim certificate on this machine; make it if there is none.

    Raises:
        AwsError: The environment is not ready, AWS IoT refuses, or the certificate is not active.
        IdentityError: The files in the folder are broken, or in use by another run.
    """
    environment.check_stack()
    broker = environment.broker()
    iot = environment.session.client("iot")
    iot_once = environment.session.client("iot", config=ONCE)
    folder = _folder(environment)
    with files.working_in(folder, environment.root), aws.explained(environment.name):
        if certificates.IssueJournal.read(folder) is None:
            if (folder / identity.DEVICE_FILE).exists():
                existing = identity.load(folder)
                ownership.check_identity(environment, folder, existing.device, names.CLAIM, None)
                _check_active(iot, existing)
                return existing
            identity.refuse_leftovers(folder)
        policy = names.claim_policy_name(environment.name)
        issued = certificates.issue(iot_once, folder, policy, report)
        attach_policy(iot, environment.name, policy, issued.certificate_arn, report)
        device = DeviceConfig(
            environment=environment.name,
            thing_name=names.CLAIM,
            endpoint=broker.host,
            port=broker.port,
            certificate_id=issued.certificate_id,
            certificate_arn=issued.certificate_arn,
        )
        return certificates.install(
            iot,
            folder,
            device,
            certificate_pem=issued.certificate_pem,
            ca_pem=broker.ca_pem,
            report=report,
        )


def revoke(
    environment: aws.AwsEnvironment, certificate_arns: list[str], report: Callable[[str], None]
) -> None:
    """Revoke and delete the claim certificates, and remove the claim's folder on this machine.

    Raises:
        AwsError: AWS IoT refuses.
    """
    folder = _folder(environment)
    if (folder / identity.DEVICE_FILE).exists():
        device = identity.read_device(folder)
        ownership.check_identity(environment, folder, device, names.CLAIM, None)
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        # Revoke all of them first: from here on no device can register with them.
        aws.in_threads(
            lambda arn: retirement.deactivate(iot, arn, "REVOKED", report), certificate_arns
        )
        aws.in_threads(lambda arn: retirement.retire(iot, arn, report), certificate_arns)
    if folder.is_dir():
        shutil.rmtree(folder)
        report(f"{folder}: removed")


def _folder(environment: aws.AwsEnvironment) -> Path:
    return identity.folder_of(environment.name, names.CLAIM, environment.root)


def _check_active(iot: "IoTClient", claim: Identity) -> None:
    certificate_id = claim.device.certificate_id
    try:
        found = iot.describe_certificate(certificateId=certificate_id)
        status: str = found["certificateDescription"]["status"]
    except iot.exceptions.ResourceNotFoundException:
        status = "DELETED"
    if status != "ACTIVE":
        raise AwsError(
            f"expected claim certificate {certificate_id} to be ACTIVE, got {status}",
            ExitStatus.CONFLICT,
            remedy=f"run python -m ops.claim --env {claim.device.environment} --revoke, then "
            "this again",
        )


@click.command(
    cls=cli.Command,
    examples=[
        "python -m ops.claim --env dev",
        "python -m ops.claim --env dev --revoke",
    ],
    statuses=(
        *(ExitStatus.IDENTITY, ExitStatus.CONFLICT, ExitStatus.DECLINED),
        *cli.AWS_STATUSES,
    ),
)
@cli.environment_option()
@click.option(
    "--revoke", "revoking", is_flag=True, help="Revoke and delete all claim certificates of ENV."
)
@click.option("--yes", is_flag=True, help="Revoke without asking; for scripts.")
def main(environment: str, *, revoking: bool, yes: bool) -> None:
    """Make the claim certificate, with which devices register themselves, and print its folder.

    Each machine that runs this command has its own claim certificate. It can only register devices,
    under names that no device has.
    """
    opened = aws.session_for(environment)
    if not revoking:
        click.echo(str(make(opened, cli.say).folder))
        return
    arns = holdings.find_claims(opened)
    if not arns and not _folder(opened).exists():
        cli.say(f"environment {environment} has no claim certificate; nothing to do")
        return
    ids = [arn.rpartition("/")[2] for arn in arns]
    if not yes:
        held = ", ".join(ids) or "an unfinished one on this machine"
        cli.confirm(
            f"Revoke and delete the claim certificates of {environment}, account "
            f"{opened.account} ({held})?"
        )
    revoke(opened, arns, cli.say)
    for identifier in ids:
        click.echo(identifier)


if __name__ == "__main__":
    main(prog_name="python -m ops.claim")
