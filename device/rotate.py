"""Give a device a new key and certificate: ``python -m device.rotate --env ENV THING``.

The command makes the new pair beside the old one and tests it: it connects, and publishes to
``dt/{env}/{thing}/_proof`` (and ``/{customer}``). The policy allows that topic and no rule reads
it, so the test makes no data. Only then does the command switch the identity over, in one rename,
and deactivate, detach and delete the old certificate. After an interruption the identity works,
with the old certificate or the new one; run the command again to complete the rotation.

After a rotation ``private.key``, ``certificate.pem`` and ``device.json`` are symbolic links
through ``current``, the folder of the pair in use. Replacing ``current`` replaces all three at
once. The paths that a client opens stay the same.

The broker keeps one connection per client id, so the test disconnects a publisher that uses the
identity. Stop the publisher first.

The credentials need what ``device.provision`` needs and, of ``iot:``, ``DetachThingPrincipal``
and ``DeleteCertificate``.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from contracts import names
from device import aws, cli, files, identity
from device.delivery import mqtt
from device.errors import AwsError, ExitStatus, IdentityError
from device.identity import DeviceConfig, Identity
from device.registry import certificates, ownership, proof, registration, retirement
from device.registry.journal import JournalFile

_LINKED = (identity.KEY_FILE, identity.CERTIFICATE_FILE, identity.DEVICE_FILE)


@dataclass(frozen=True, slots=True)
class RotationJournal(JournalFile):
    """The journal of a rotation: the certificate that it replaces."""

    FILE = identity.ROTATION_FILE

    old_certificate_arn: str


def rotate(
    environment: aws.AwsEnvironment,
    thing_name: str,
    report: Callable[[str], None],
    *,
    customer: str | None = None,
) -> Identity:
    """Replace key and certificate of ``thing_name``, here and in AWS IoT.

    Args:
        environment: Where the thing belongs; its ``root`` holds ``certs``.
        thing_name: Provisioned on this machine.
        report: Called with a line of text for each thing that changed.
        customer: Replace key and certificate of this customer instead.

    Raises:
        AwsError: The environment is not ready, or AWS IoT refuses.
        IdentityError: The identity is missing, broken or in use by another run.
        ConnectionFailed: The new certificate could not connect; the old one is still in use.
    """
    environment.check_stack()
    name = names.client_id(thing_name, customer)
    folder = identity.folder_of(environment.name, name, environment.root)
    if not folder.is_dir():
        identity.load(folder)  # says what to do
    with files.working_in(folder, environment.root), aws.explained(environment.name):
        device = identity.read_device(folder)
        ownership.check_identity(environment, folder, device, thing_name, customer)
        return _Rotation(environment, folder, report).run()


class _Rotation:
    """One run for one identity. Each step may be repeated."""

    def __init__(
        self, environment: aws.AwsEnvironment, folder: Path, report: Callable[[str], None]
    ) -> None:
        self._environment = environment
        self._folder = folder
        self._report = report
        self._iot = environment.session.client("iot")
        self._iot_once = environment.session.client("iot", config=registration.ONCE)

    def run(self) -> Identity:
        if (self._folder / certificates.IssueJournal.FILE).exists():
            raise IdentityError(
                f"expected a complete identity in {self._folder}, got an interrupted provisioning",
                remedy="run python -m device.provision again",
            )
        device = identity.load(self._folder).device
        old_arn = self._old_arn(device)
        self._check_owner(device, old_arn)
        if device.certificate_arn == old_arn:
            slot = self._free_slot()
            new = self._issue(slot, device)
            self._prove(new)
            self._switch(slot)
            self._report(f"certificate {new.device.certificate_id}: in use")
        retirement.retire(self._iot, old_arn, self._report)
        # The old key is useless now, but it should not stay on disk.
        shutil.rmtree(self._free_slot(), ignore_errors=True)
        files.remove(self._folder / identity.ROTATION_FILE)
        return identity.load(self._folder)

    def _old_arn(self, device: DeviceConfig) -> str:
        """The certificate that is replaced; the journal remembers it from the first step on."""
        entry = RotationJournal.read(self._folder)
        if entry is None:
            entry = RotationJournal(device.certificate_arn).write(self._folder)
        return entry.old_certificate_arn

    def _check_owner(self, device: DeviceConfig, old_arn: str) -> None:
        """Check that thing and certificate belong to this environment before changing them."""
        thing_name, environment = device.thing_name, self._environment.name
        try:
            principals = list(
                aws.listed(self._iot, "list_thing_principals", "principals", thingName=thing_name)
            )
        except self._iot.exceptions.ResourceNotFoundException:
            raise AwsError(
                f"no thing named {thing_name} in environment {environment}",
                ExitStatus.CONFLICT,
                remedy=f"run {device.command}",
            ) from None
        ownership.check_thing(self._iot, environment, thing_name, principals)
        ownership.check_certificate(self._iot, environment, old_arn)

    def _free_slot(self) -> Path:
        """The folder for a pair that is not in use."""
        current = self._folder / identity.CURRENT
        used = current.readlink().name if current.is_symlink() else identity.PAIRS[0]
        return self._folder / next(name for name in identity.PAIRS if name != used)

    def _issue(self, slot: Path, device: DeviceConfig) -> Identity:
        """Make the new pair in ``slot``, registered like the old one, and activate it."""
        files.make_folder(slot, self._environment.root)
        if (slot / identity.DEVICE_FILE).exists() and not (
            slot / certificates.IssueJournal.FILE
        ).exists():
            return identity.load(slot)
        issued = certificates.issue(self._iot_once, slot, device.client_id, self._report)
        policy_name = names.policy_name(device.environment, device.thing_name, device.customer)
        registration.attach_policy(
            self._iot, device.environment, policy_name, issued.certificate_arn, self._report
        )
        registration.attach_thing(
            self._iot, device.thing_name, issued.certificate_arn, self._report
        )
        return certificates.install(
            self._iot,
            slot,
            replace(
                device,
                certificate_id=issued.certificate_id,
                certificate_arn=issued.certificate_arn,
            ),
            certificate_pem=issued.certificate_pem,
            ca_pem=(self._folder / identity.CA_FILE).read_bytes(),
            report=self._report,
        )

    def _prove(self, new: Identity) -> None:
        result = proof.prove(new)
        if result.outcome is not mqtt.PublishOutcome.ACKNOWLEDGED:
            raise AwsError(
                f"expected the broker to take a message to {new.device.proof_topic} with the new "
                f"certificate, got: {result.reason}; the old one stays in use",
                ExitStatus.REFUSED,
                remedy=f"run {aws.deploy_command(self._environment.name)}, then this again",
            )
        self._report(f"certificate {new.device.certificate_id}: connected and published")

    def _switch(self, slot: Path) -> None:
        """Make the pair in ``slot`` the identity's pair, atomically."""
        current = self._folder / identity.CURRENT
        if not current.is_symlink():
            first = self._folder / identity.PAIRS[0]
            files.make_folder(first, self._environment.root)
            for name in _LINKED:
                files.write_private(first / name, (self._folder / name).read_bytes())
            files.link(current, Path(first.name))
        for name in _LINKED:
            path = self._folder / name
            if not path.is_symlink():
                # Provisioning has written a plain file: its content belongs to the pair in use.
                files.write_private(current / name, path.read_bytes())
                files.link(path, Path(identity.CURRENT, name))
        files.link(current, Path(slot.name))


@click.command(
    cls=cli.Command,
    examples=[
        "python -m device.rotate --env dev sensor-1",
        "python -m device.rotate --env dev sensor-1 --customer acme",
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
@cli.customer_option("Rotate the identity of this customer of THING.")
@click.argument("thing_name", metavar="THING", callback=cli.thing_name)
def main(environment: str, thing_name: str, *, customer: str | None) -> None:
    """Give THING a new key and certificate, and retire the old ones.

    The new certificate must connect and publish before it is used. First stop a publisher that
    uses the identity. Prints the folder. After an interruption, run the command again.
    """
    cli.check_customer(environment, thing_name, customer)
    rotated = rotate(aws.session_for(environment), thing_name, cli.say, customer=customer)
    click.echo(str(rotated.folder))


if __name__ == "__main__":
    main(prog_name="python -m device.rotate")
