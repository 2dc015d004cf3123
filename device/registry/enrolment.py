"""Register a device by claim, for ``device.provision --claim``. Needs no AWS credentials.

The device makes its key and a certificate signing request. It connects with the claim certificate,
which many devices share, and asks AWS IoT over MQTT to sign the request and then to register the
certificate under the thing's name. The stack's template and hook decide whether it may. The
identity is complete when it has connected and published.

After an interruption, run it again: the key and the answers of AWS IoT are on disk. A lost answer
is harmless: AWS IoT deletes a certificate that is not registered within an hour, and a certificate
that is registered can connect.

See https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
"""

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from awsiot import iotidentity

from contracts import names
from device import files, identity
from device.delivery import mqtt
from device.errors import ConnectionRefused, ExitStatus, IdentityError, RequestFailed
from device.identity import DeviceConfig, Identity
from device.registry import certificates, proof
from device.registry.journal import JournalFile


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentJournal(JournalFile):
    """The progress of an enrolment.

    Attributes:
        certificate_id: AWS IoT's id of the certificate; None until it is signed.
        certificate_pem: The certificate.
        ownership_token: Proves to AWS IoT that the device owns the certificate; valid for an hour.
        asked: AWS IoT was asked to register the certificate, and may have done so.
    """

    FILE = "enrolment.json"

    certificate_id: str | None = None
    certificate_pem: str = ""
    ownership_token: str = ""
    asked: bool = False


class _TokenRefused(RequestFailed):
    """The token is older than an hour, or AWS IoT has deleted the certificate."""


def load_claim(environment: str, folder: Path) -> Identity:
    """Read the claim certificate in ``folder``, which ``ops.claim`` makes.

    Raises:
        IdentityError: The certificate is missing, broken, or of another environment.
    """
    if not folder.is_dir():
        raise IdentityError(
            f"expected a claim certificate in {folder}, got no such folder",
            remedy="have the operator run "
            f"python -m ops.claim --env {environment}, and copy the folder that it makes here",
        )
    claim = identity.load(folder)
    if (claim.device.environment, claim.device.thing_name) != (environment, names.CLAIM):
        raise IdentityError(
            f"expected a claim certificate of {environment}, got the identity of "
            f"{claim.device.thing_name} in {claim.device.environment} in {folder}"
        )
    return claim


def enrol(
    claim: Identity, thing_name: str, report: Callable[[str], None], *, root: Path
) -> Identity:
    """Make the identity of ``thing_name`` complete, here and in AWS IoT.

    Args:
        claim: The claim certificate.
        thing_name: A name that AWS IoT accepts.
        report: Called with a line of text for each thing that changed.
        root: The project's folder, which holds ``certs``.

    Raises:
        ConnectionFailed: There is no connection, or the claim certificate has been revoked.
        RequestFailed: AWS IoT refuses to sign or to register, for example a name that is taken.
        IdentityError: The files in the folder are broken, or in use by another run.
    """
    folder = identity.folder_of(claim.device.environment, thing_name, root)
    with files.working_in(folder, root):
        return _Enrolment(claim, thing_name, folder, report).run()


class _Enrolment:
    """One run for one thing. Each step may be repeated; their order makes interruptions safe."""

    def __init__(
        self, claim: Identity, thing_name: str, folder: Path, report: Callable[[str], None]
    ) -> None:
        self._claim = claim
        self._environment = claim.device.environment
        self._thing_name = thing_name
        self._folder = folder
        self._report = report
        self._key_path = folder / identity.KEY_FILE

    def run(self) -> Identity:
        entry = EnrolmentJournal.read(self._folder)
        if entry is None:
            if (self._folder / certificates.IssueJournal.FILE).exists():
                raise IdentityError(
                    f"expected {self._folder} to be empty or complete, got a provisioning with AWS "
                    "credentials that was interrupted",
                    remedy="run this again without --claim",
                )
            if (self._folder / identity.DEVICE_FILE).exists():
                return identity.load(self._folder)
            identity.refuse_leftovers(self._folder)
            entry = EnrolmentJournal().write(self._folder)
        if not self._key_path.exists():
            # A certificate for another key is useless.
            entry = EnrolmentJournal().write(self._folder)
            files.write_private(self._key_path, certificates.new_key())
        own = self._registered_already(entry) if entry.asked else None
        if own is None:
            own = self._write_files(self._register(entry))
            self._prove(own)
        # This file makes the identity complete.
        files.write_private(self._folder / identity.DEVICE_FILE, own.device.to_json())
        files.remove(self._folder / EnrolmentJournal.FILE)
        return identity.load(self._folder)

    def _registered_already(self, entry: EnrolmentJournal) -> Identity | None:
        """The identity, if AWS IoT has registered it and only its answer was lost."""
        own = self._write_files(entry)
        try:
            proof.prove(own, attempts=1)
        except ConnectionRefused:
            return None
        self._report(f"certificate {entry.certificate_id}: registered already")
        return own

    def _register(self, entry: EnrolmentJournal) -> EnrolmentJournal:
        client_id = names.claim_client_id(self._environment, secrets.token_hex(8))
        with mqtt.Connection(self._claim, client_id=client_id) as connection:
            if entry.certificate_id is not None:
                with contextlib.suppress(_TokenRefused):
                    return self._ask(connection, entry)
            return self._ask(connection, self._sign(connection))

    def _sign(self, connection: mqtt.Connection) -> EnrolmentJournal:
        request = iotidentity.CreateCertificateFromCsrRequest(
            certificate_signing_request=certificates.signing_request(
                self._key_path, self._thing_name
            )
        )
        answer = self._requested(connection, "create_certificate_from_csr", request)
        entry = EnrolmentJournal(
            certificate_id=_text(answer, "certificate_id"),
            certificate_pem=_text(answer, "certificate_pem"),
            ownership_token=_text(answer, "certificate_ownership_token"),
        )
        if not certificates.certifies(
            entry.certificate_pem, identity.public_key_of_key(self._key_path)
        ):
            raise RequestFailed("expected a certificate of the key made here, got another one")
        entry.write(self._folder)
        self._report(f"certificate {entry.certificate_id}: signed, not active yet")
        return entry

    def _ask(self, connection: mqtt.Connection, entry: EnrolmentJournal) -> EnrolmentJournal:
        entry = replace(entry, asked=True).write(self._folder)
        request = iotidentity.RegisterThingRequest(
            template_name=names.provisioning_template_name(self._environment),
            certificate_ownership_token=entry.ownership_token,
            parameters={names.THING_NAME_PARAMETER: self._thing_name},
        )
        named = _text(self._requested(connection, "register_thing", request), "thing_name")
        if named != self._thing_name:
            raise RequestFailed(
                f"expected to be registered as {self._thing_name}, got {named!r}",
                remedy="check the provisioning template",
            )
        self._report(f"thing {self._thing_name}: registered with its certificate")
        return entry

    def _requested(self, connection: mqtt.Connection, operation: str, request: Any) -> Any:
        try:
            return connection.request(operation, request)
        except RequestFailed as error:
            if error.code == "InvalidCertificateOwnershipToken":
                raise _TokenRefused(error.message) from None
            if error.code == "AccessDenied":
                raise RequestFailed(
                    f"AWS IoT does not register {self._thing_name} by claim ({error.message}): a "
                    "device has this name already, or a thing cannot have this name",
                    ExitStatus.CONFLICT,
                    remedy="use another name, or have the operator run python -m ops.revoke "
                    f"--env {self._environment} {self._thing_name} --delete",
                ) from None
            raise

    def _write_files(self, entry: EnrolmentJournal) -> Identity:
        """Write all files but ``device.json``, and return the identity that they make."""
        certificates.write_files(
            self._folder, entry.certificate_pem, self._claim.ca_path.read_bytes(), lambda _: None
        )
        certificate_id = str(entry.certificate_id)
        owner = self._claim.device.certificate_arn.rpartition("/")[0]
        device = DeviceConfig(
            environment=self._environment,
            thing_name=self._thing_name,
            endpoint=self._claim.device.endpoint,
            port=self._claim.device.port,
            certificate_id=certificate_id,
            certificate_arn=f"{owner}/{certificate_id}",
        )
        return Identity(self._folder, device)

    def _prove(self, own: Identity) -> None:
        result = proof.prove(own)
        if result.outcome is not mqtt.PublishOutcome.ACKNOWLEDGED:
            raise RequestFailed(
                f"expected the broker to take a message to {own.device.proof_topic}, got: "
                f"{result.reason}",
                remedy="run this again",
            )
        self._report(f"certificate {own.device.certificate_id}: connected and published")


def _text(answer: Any, name: str) -> str:
    value = getattr(answer, name)
    if not isinstance(value, str) or not value:
        raise RequestFailed(f"expected {name} in AWS IoT's answer, got none")
    return value
