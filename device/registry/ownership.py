"""Which environment a thing or a certificate belongs to: one AWS account may hold several.

A thing belongs to the environment whose thing group it is in, a certificate to the one whose
policy it carries. A command acts only on what belongs to its own environment. A thing that
belongs to no environment may be half made or half deleted; the caller decides.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from contracts import names
from device.aws import AwsEnvironment, listed
from device.errors import AwsError, ExitStatus, IdentityError
from device.identity import Device

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient


def of_thing(iot: "IoTClient", thing_name: str) -> set[str]:
    """The environments whose group the thing is in.

    Raises:
        ResourceNotFoundException: There is no such thing.
    """
    groups = listed(iot, "list_thing_groups_for_thing", "thingGroups", thingName=thing_name)
    found = {names.environment_of_group(group["groupName"]) for group in groups}
    return {environment for environment in found if environment}


def of_certificate(iot: "IoTClient", certificate_arn: str) -> set[str]:
    """The environments whose policies the certificate carries."""
    policies = listed(iot, "list_attached_policies", "policies", target=certificate_arn)
    found = {names.environment_of_policy(policy["policyName"]) for policy in policies}
    return {environment for environment in found if environment}


def check_identity(
    environment: AwsEnvironment, folder: Path, device: Device, thing_name: str, customer: str | None
) -> None:
    """Refuse an identity whose ``device.json`` is of another device, environment or account.

    Raises:
        IdentityError: It is of another device or environment.
        AwsError: It is of another account or region.
    """
    expected = (environment.name, thing_name, customer)
    if (device.environment, device.thing_name, device.customer) != expected:
        raise IdentityError(
            f"expected the identity of {names.client_id(thing_name, customer)} in environment "
            f"{environment.name}, got that of {device.client_id} in environment "
            f"{device.environment} in {folder}",
            remedy=f"move the folder to certs/{device.environment}/{device.client_id}",
        )
    check_account(environment, folder, device.certificate_arn)


def check_account(environment: AwsEnvironment, folder: Path, certificate_arn: str) -> None:
    """Refuse a certificate of another account or region.

    Raises:
        AwsError: It is.
    """
    expected = (environment.region, environment.account)
    found = tuple(certificate_arn.split(":")[3:5])
    if found != expected:
        raise AwsError(
            f"expected an identity of account {expected[1]}, {expected[0]}, got one of "
            f"{' '.join(reversed(found))} in {folder}",
            ExitStatus.CONFLICT,
            remedy="use that account's credentials, or move the folder away and run this again",
        )


def check_certificate(iot: "IoTClient", environment: str, certificate_arn: str) -> None:
    """Refuse a certificate that carries another environment's policy.

    Raises:
        AwsError: It does.
    """
    others = of_certificate(iot, certificate_arn) - {environment}
    if others:
        raise elsewhere(
            environment, f"certificate {certificate_arn.rpartition('/')[2]}", others, "policy"
        )


def check_thing(
    iot: "IoTClient", environment: str, thing_name: str, principals: Iterable[str]
) -> None:
    """Refuse a thing that belongs to other environments, and not to this one.

    Args:
        iot: A client of the account.
        environment: The one that the caller acts for.
        thing_name: It exists.
        principals: ARNs of what is attached to it. Their policies count for a thing that is in
            no group.

    Raises:
        AwsError: It belongs elsewhere.
    """
    groups = of_thing(iot, thing_name)
    if environment in groups:
        return
    if groups:
        raise elsewhere(environment, f"thing {thing_name}", groups, "thing group")
    policies = {found for arn in principals for found in of_certificate(iot, arn)}
    if policies and environment not in policies:
        raise elsewhere(environment, f"thing {thing_name}", policies, "certificate's policy")


def elsewhere(environment: str, what: str, owners: Iterable[str], sign: str) -> AwsError:
    """The refusal to act on what belongs to ``owners``, as its ``sign`` says."""
    named = " and ".join(sorted(owners))
    return AwsError(
        f"expected {what} to belong to environment {environment}, got one of {named} (by its "
        f"{sign})",
        ExitStatus.CONFLICT,
        remedy=f"run this with --env {min(owners)}, or use another name",
    )
