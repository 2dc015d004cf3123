"""Register an identity in AWS IoT and write its files. Needs AWS credentials.

It may be interrupted at any step and run again; in the end there is one certificate. Two things
are left to a person, since someone may have intended the state: it gives no second certificate to
a thing or a customer, and it activates no certificate that was deactivated.

The credentials need these permissions: ``cloudformation:DescribeStacks`` and, of ``iot:``,
``DescribeEndpoint``, ``ListThingPrincipals``, ``CreateThing``, ``CreateCertificateFromCsr``,
``ListCertificates``, ``DescribeCertificate``, ``ListAttachedPolicies``, ``AttachPolicy``,
``AttachThingPrincipal``, ``ListThingGroupsForThing``, ``AddThingToThingGroup`` and
``UpdateCertificate``; for customers also ``ListTargetsForPolicy``, ``GetPolicy``,
``CreatePolicy``, ``CreatePolicyVersion``, ``ListPolicyVersions`` and ``DeletePolicyVersion``.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.config import Config

from contracts import names
from device import aws, files, identity
from device.errors import AwsError, ExitStatus, IdentityError
from device.identity import DeviceConfig, Identity
from device.registry import certificates, customers, ownership
from device.registry.certificates import Certificate, IssueJournal

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

ONCE = Config(retries={"total_max_attempts": 1})
"""For clients that issue certificates: botocore must not repeat a call whose answer was lost."""


def attach_policy(
    iot: "IoTClient",
    environment: str,
    policy_name: str,
    certificate_arn: str,
    report: Callable[[str], None],
) -> None:
    """Attach the policy, which the stack or ``customers`` makes, unless it is attached already.

    Raises:
        AwsError: There is no such policy.
    """
    attached = aws.listed(iot, "list_attached_policies", "policies", target=certificate_arn)
    if policy_name not in [policy["policyName"] for policy in attached]:
        with aws.part_of_stack(iot, environment, "policy", policy_name):
            iot.attach_policy(policyName=policy_name, target=certificate_arn)
        report(f"policy {policy_name}: attached to the certificate")


def attach_thing(
    iot: "IoTClient", thing_name: str, certificate_arn: str, report: Callable[[str], None]
) -> None:
    """Attach the thing exclusively: a certificate attached to two things could act as both."""
    iot.attach_thing_principal(
        thingName=thing_name, principal=certificate_arn, thingPrincipalType="EXCLUSIVE_THING"
    )
    report(f"thing {thing_name}: certificate attached")


def provision(
    environment: aws.AwsEnvironment,
    thing_name: str,
    report: Callable[[str], None],
    *,
    customer: str | None = None,
) -> Identity:
    """Make the identity of ``thing_name`` complete, here and in AWS IoT.

    Args:
        environment: Where the thing belongs; its ``root`` holds ``certs``.
        thing_name: A name that AWS IoT accepts.
        report: Called with a line of text for each thing that changed.
        customer: Make this customer's identity instead; a name that ``names.check_customer``
            accepts.

    Raises:
        AwsError: The environment is not ready, AWS IoT refuses, or the thing is in a state that
            only a person may change.
        IdentityError: The files in the folder are broken, or in use by another run.
    """
    return Provisioner(environment).provision(thing_name, report, customer=customer)


class Provisioner:
    """Provisions things of one environment; several threads may use it at once.

    Raises:
        AwsError: The environment is not ready.
    """

    def __init__(self, environment: aws.AwsEnvironment) -> None:
        environment.check_stack()
        self._environment = environment
        self._broker = environment.broker()
        # Threads may share clients, but must not make them.
        self._iot = environment.session.client("iot")
        self._iot_once = environment.session.client("iot", config=ONCE)

    def provision(
        self, thing_name: str, report: Callable[[str], None], *, customer: str | None = None
    ) -> Identity:
        """Provision one thing, as the function ``provision`` does."""
        environment = self._environment
        name = names.client_id(thing_name, customer)
        folder = identity.folder_of(environment.name, name, environment.root)
        run = _Provisioning(
            environment=environment,
            broker=self._broker,
            iot=self._iot,
            iot_once=self._iot_once,
            thing_name=thing_name,
            customer=customer,
            folder=folder,
            report=report,
        )
        with files.working_in(folder, environment.root), aws.explained(environment.name):
            return run.run()


class _Provisioning:
    """One run for one identity. Each step may be repeated; their order makes interruptions safe."""

    def __init__(
        self,
        *,
        environment: aws.AwsEnvironment,
        broker: aws.BrokerAddress,
        iot: "IoTClient",
        iot_once: "IoTClient",
        thing_name: str,
        customer: str | None,
        folder: Path,
        report: Callable[[str], None],
    ) -> None:
        self._environment = environment
        self._broker = broker
        self._thing_name = thing_name
        self._customer = customer
        self._name = names.client_id(thing_name, customer)
        self._what = f"thing {thing_name}" + (f", customer {customer}," if customer else "")
        self._policy_name = names.policy_name(environment.name, thing_name, customer)
        self._folder = folder
        self._report = report
        self._iot = iot
        self._iot_once = iot_once

    def run(self) -> Identity:
        environment = self._environment
        certificate = self._existing()
        principals = self._principals()
        if principals is not None:
            ownership.check_thing(self._iot, environment.name, self._thing_name, principals)
        if certificate is None:
            self._check_unclaimed(principals or [])
            # If the policy is too long, this fails before anything is made.
            self._document(f"arn:aws:iot:{environment.region}:{environment.account}")
            certificate = certificates.issue(self._iot_once, self._folder, self._name, self._report)
        self._register(certificate, principals)
        made = self._install(certificate)
        if made.key_path.stat().st_mode & 0o077:
            made.key_path.chmod(0o600)
            self._report(f"{made.key_path}: made private (mode 0600)")
        return made

    def _existing(self) -> Certificate | None:
        """The certificate of an earlier run, complete or not; None if one must be issued."""
        journal = IssueJournal.read(self._folder)
        if journal is not None:
            certificate = journal.certificate
            if certificate is None:
                return None
            ownership.check_account(self._environment, self._folder, certificate.certificate_arn)
        elif (self._folder / identity.DEVICE_FILE).exists():
            device = identity.read_device(self._folder)
            ownership.check_identity(
                self._environment, self._folder, device, self._thing_name, self._customer
            )
            certificate = Certificate(
                certificate_id=device.certificate_id,
                certificate_arn=device.certificate_arn,
                certificate_pem="",
            )
        else:
            identity.refuse_leftovers(self._folder)
            return None
        return self._as_registered(certificate, unfinished=journal is not None)

    def _as_registered(self, known: Certificate, *, unfinished: bool) -> Certificate | None:
        """``known`` with its PEM text from AWS IoT; None if it must be replaced."""
        try:
            found = self._iot.describe_certificate(certificateId=known.certificate_id)
        except self._iot.exceptions.ResourceNotFoundException:
            self._replace(known, f"no longer in {self._environment.name}")
            return None
        description = found["certificateDescription"]
        ownership.check_certificate(self._iot, self._environment.name, known.certificate_arn)
        if description["status"] == "REVOKED":
            self._replace(known, "revoked")
            return None
        if description["status"] != "ACTIVE" and not unfinished:
            raise AwsError(
                f"expected certificate {known.certificate_id} of {self._name} to be ACTIVE, "
                f"got {description['status']}: someone has deactivated it",
                ExitStatus.CONFLICT,
                remedy="if that was a mistake, "
                "run aws iot update-certificate --new-status ACTIVE --certificate-id "
                f"{known.certificate_id}",
            )
        if not unfinished:
            self._check_key()
        return Certificate(
            certificate_id=known.certificate_id,
            certificate_arn=known.certificate_arn,
            certificate_pem=description["certificatePem"],
        )

    def _replace(self, known: Certificate, why: str) -> None:
        """Request a new key and certificate: the old key may be in the wrong hands."""
        IssueJournal(started_at=datetime.now(UTC), new_key=True).write(self._folder)
        self._report(
            f"certificate {known.certificate_id}: {why}; a new key and certificate are made"
        )

    def _check_key(self) -> None:
        if not (self._folder / identity.KEY_FILE).exists():
            options = identity.options(self._environment.name, self._thing_name, self._customer)
            raise IdentityError(
                f"expected {self._folder / identity.KEY_FILE}, got no such file",
                remedy=f"restore it, or run python -m ops.revoke {options} --delete, then this "
                "again",
            )

    def _principals(self) -> list[str] | None:
        """ARNs of the principals attached to the thing; None if the thing does not exist."""
        name = self._thing_name
        try:
            return list(
                aws.listed(self._iot, "list_thing_principals", "principals", thingName=name)
            )
        except self._iot.exceptions.ResourceNotFoundException:
            return None

    def _check_unclaimed(self, principals: list[str]) -> None:
        """Refuse a second certificate: the key of the first one may be on another device."""
        others = [arn for arn in self._alike(principals) if self._usable(arn)]
        if others:
            held = ", ".join(arn.rpartition("/")[2] for arn in others)
            options = identity.options(self._environment.name, self._thing_name, self._customer)
            raise AwsError(
                f"expected {self._what} to have no certificate, got {held}, whose key "
                f"is not in {self._folder}",
                ExitStatus.CONFLICT,
                remedy="copy the identity from the machine that has it, use "
                f"another name, or run python -m ops.revoke {options}, then this again",
            )

    def _alike(self, principals: list[str]) -> list[str]:
        """The thing's certificates for the same purpose: its own, or those of the customer."""
        iot, environment = self._iot, self._environment.name
        if self._customer is None:
            return [arn for arn in principals if not customers.is_customers(iot, environment, arn)]
        carriers = customers.certificates_with(iot, self._policy_name)
        return [arn for arn in principals if arn in carriers]

    def _usable(self, certificate_arn: str) -> bool:
        """Whether a device might still connect with the certificate: it was not revoked."""
        ownership.check_certificate(self._iot, self._environment.name, certificate_arn)
        try:
            found = self._iot.describe_certificate(certificateId=certificate_arn.rpartition("/")[2])
        except self._iot.exceptions.ResourceNotFoundException:
            return True  # not in this account's registry; a person must decide
        return found["certificateDescription"]["status"] != "REVOKED"

    def _register(self, certificate: Certificate, principals: list[str] | None) -> None:
        iot, thing_name, arn = self._iot, self._thing_name, certificate.certificate_arn
        if principals is None:
            iot.create_thing(thingName=thing_name)
            self._report(f"thing {thing_name}: created")
        # Runs first: the group says which environment the thing belongs to.
        group_name = names.thing_group_name(self._environment.name)
        groups = aws.listed(iot, "list_thing_groups_for_thing", "thingGroups", thingName=thing_name)
        if group_name not in [group["groupName"] for group in groups]:
            with aws.part_of_stack(iot, self._environment.name, "thing group", group_name):
                iot.add_thing_to_thing_group(thingGroupName=group_name, thingName=thing_name)
            self._report(f"thing {thing_name}: added to group {group_name}")
        policy_name = self._policy_name
        document = self._document(arn.partition(":cert/")[0])
        if document is not None:
            customers.ensure_policy(iot, policy_name, document, self._report)
        attach_policy(iot, self._environment.name, policy_name, arn, self._report)
        if arn not in (principals or []):
            attach_thing(iot, thing_name, arn, self._report)

    def _document(self, owner: str) -> str | None:
        """The customer's policy; None for the thing's own policy, which the stack makes."""
        if self._customer is None:
            return None
        return customers.policy_document(
            self._environment.name, self._thing_name, self._customer, owner
        )

    def _install(self, certificate: Certificate) -> Identity:
        device = DeviceConfig(
            environment=self._environment.name,
            thing_name=self._thing_name,
            endpoint=self._broker.host,
            port=self._broker.port,
            certificate_id=certificate.certificate_id,
            certificate_arn=certificate.certificate_arn,
            customer=self._customer,
        )
        return certificates.install(
            self._iot,
            self._folder,
            device,
            certificate_pem=certificate.certificate_pem,
            ca_pem=self._broker.ca_pem,
            report=self._report,
        )
