"""Find the certificates and policies in AWS IoT that ``ops.revoke`` takes out of use."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from contracts import names
from device import aws, identity
from device.errors import AwsError, ExitStatus
from device.registry import customers, ownership
from device.registry.customers import CustomerPolicy

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

RETIRING = "retiring"
"""Attribute of a thing: id of the certificate that is being detached; empty if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A thing with its customers, or one of its customers, and its certificates and policies.

    Attributes:
        thing_name: The thing.
        customer: The customer; None if the holder is the thing with all its customers.
        certificates: Status of each certificate, by ARN.
        policies: Policies of the customers.
        foreign: Environment of each certificate of another environment, by ARN.
        shared_with: Other environments that the thing belongs to. The thing is kept for them.
    """

    thing_name: str
    customer: str | None
    certificates: dict[str, str]
    policies: tuple[CustomerPolicy, ...]
    foreign: dict[str, str]
    shared_with: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """Everything that prevents the deletion of an environment's stack.

    Attributes:
        holders: Every thing with its customers.
        loose: ARNs of certificates that are attached to none of these things.
        claims: ARNs of claim certificates.
        policies: Policies of customers whose thing no longer exists.
    """

    holders: tuple[Holder, ...]
    loose: tuple[str, ...]
    claims: tuple[str, ...]
    policies: tuple[CustomerPolicy, ...]

    @property
    def certificate_arns(self) -> list[str]:
        """Every certificate."""
        held = [arn for holder in self.holders for arn in holder.certificates]
        return [*held, *self.loose, *self.claims]


def find(environment: aws.AwsEnvironment, thing_name: str, customer: str | None = None) -> Holder:
    """Find the certificates and policies of ``thing_name``, or of one of its customers.

    A certificate that an interrupted run has detached is included.

    Raises:
        AwsError: The environment has no thing of this name, or AWS IoT refuses.
    """
    iot = environment.session.client("iot")
    with aws.explained(environment.name):
        policies = list(customers.policies(iot, environment.name))
        return _find(iot, environment.name, thing_name, customer, policies)


def _find(
    iot: "IoTClient",
    environment: str,
    thing_name: str,
    customer: str | None,
    policies: Iterable[CustomerPolicy],
) -> Holder:
    try:
        thing = iot.describe_thing(thingName=thing_name)
    except iot.exceptions.ResourceNotFoundException:
        raise _no_such_thing(environment, thing_name) from None
    attached = aws.listed(iot, "list_thing_principals", "principals", thingName=thing_name)
    principals = {arn for arn in attached if ":cert/" in arn}
    wanted = tuple(
        policy
        for policy in policies
        if policy.thing_name == thing_name and customer in (None, policy.customer)
    )
    # An interrupted provisioning may not have attached a customer's certificate to the thing.
    carriers = {
        arn for policy in wanted for arn in customers.certificates_with(iot, policy.policy_name)
    }
    groups = ownership.of_thing(iot, thing_name)
    owners = {arn: ownership.of_certificate(iot, arn) for arn in principals | carriers}
    belongs = groups.union(*owners.values())
    if environment not in belongs:
        if belongs:
            sign = "thing group" if groups else "certificate's policy"
            raise ownership.elsewhere(environment, f"thing {thing_name}", belongs, sign)
        raise _no_such_thing(environment, thing_name)
    arns = carriers if customer is not None else principals | carriers
    ours = {arn for arn in arns if environment in owners[arn] or not owners[arn]}
    if thing["attributes"].get(RETIRING):
        owner = thing["thingArn"].partition(":thing/")[0]
        ours.add(f"{owner}:cert/{thing['attributes'][RETIRING]}")
    for arn in ours:
        ownership.check_certificate(iot, environment, arn)
    return Holder(
        thing_name=thing_name,
        customer=customer,
        certificates={arn: status for arn in sorted(ours) if (status := _status(iot, arn))},
        policies=wanted,
        foreign={arn: min(owners[arn]) for arn in sorted(arns - ours)},
        shared_with=frozenset(belongs - {environment}),
    )


def find_everything(environment: aws.AwsEnvironment) -> Everything:
    """Find every identity of ``environment``, even if parts of its stack no longer exist.

    Raises:
        AwsError: AWS IoT refuses, or an identity also belongs to another environment.
    """
    iot = environment.session.client("iot")
    name = environment.name
    with aws.explained(name):
        policies = list(customers.policies(iot, name))
        carriers = customers.certificates_with(iot, names.device_policy_name(name))
        policy_names = [policy.policy_name for policy in policies]
        carriers.update(*aws.in_threads(partial(customers.certificates_with, iot), policy_names))
        claims = set(find_claims(environment))
        things = _things(iot, names.thing_group_name(name))
        things.update(*aws.in_threads(partial(_things_of, iot), carriers))
        holders = aws.in_threads(
            lambda thing: _find(iot, name, thing, None, policies), sorted(things)
        )
        held = {arn for holder in holders for arn in holder.certificates}
        aws.in_threads(partial(ownership.check_certificate, iot, name), carriers - held)
        return Everything(
            holders=tuple(holders),
            loose=tuple(sorted(carriers - held - claims)),
            claims=tuple(sorted(claims - held)),
            policies=tuple(policy for policy in policies if policy.thing_name not in things),
        )


def find_claims(environment: aws.AwsEnvironment) -> list[str]:
    """ARNs of the claim certificates of ``environment``, and of the one on this machine.

    Raises:
        AwsError: AWS IoT refuses, or a certificate also belongs to another environment.
        IdentityError: The claim's folder on this machine holds another identity.
    """
    iot = environment.session.client("iot")
    folder = identity.folder_of(environment.name, names.CLAIM, environment.root)
    with aws.explained(environment.name):
        arns = customers.certificates_with(iot, names.claim_policy_name(environment.name))
        if (folder / identity.DEVICE_FILE).exists():
            device = identity.read_device(folder)
            ownership.check_identity(environment, folder, device, names.CLAIM, None)
            arns.add(device.certificate_arn)
        for arn in arns:
            ownership.check_certificate(iot, environment.name, arn)
    return sorted(arns)


def _things(iot: "IoTClient", group: str) -> set[str]:
    """The things in the group; empty if the group does not exist."""
    with contextlib.suppress(iot.exceptions.ResourceNotFoundException):
        return set(aws.listed(iot, "list_things_in_thing_group", "things", thingGroupName=group))
    return set()


def _things_of(iot: "IoTClient", arn: str) -> list[str]:
    return list(aws.listed(iot, "list_principal_things", "things", principal=arn))


def _status(iot: "IoTClient", arn: str) -> str | None:
    """The certificate's status; None if the certificate no longer exists."""
    try:
        found = iot.describe_certificate(certificateId=arn.rpartition("/")[2])
    except iot.exceptions.ResourceNotFoundException:
        return None
    return found["certificateDescription"]["status"]


def _no_such_thing(environment: str, thing_name: str) -> AwsError:
    return AwsError(
        f"no thing named {thing_name} in environment {environment}",
        ExitStatus.CONFLICT,
        remedy=f"run python -m ops.list --env {environment}",
    )
