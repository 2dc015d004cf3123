"""Find out which environment a thing or a certificate belongs to.

One AWS account may hold several environments. A thing belongs to the environment whose thing group
it is in; a certificate belongs to the environment whose policy is attached to it. A command changes
only what belongs to its own environment. A thing or certificate of no environment may be half made
or half deleted; the caller decides.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from contracts import names
from device.aws import AwsEnvironment, listed
from device.errors import AwsError, ExitStatus, IdentityError
from device.identity import DeviceConfig

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient


def of_thing(iot: "IoTClient", thing_name: str) -> set[str]:
    """The environments whose group the thing is in.

    Raises:
        ResourceNotFoundException: The thing does not exist.
    """
    groups = listed(iot, "list_thing_groups_for_thing", "thingGroups", thingName=thing_name)
    found = {names.environment_of_group(group["groupName"]) for group in groups}
    return {environment for environment in found if environment}


def of_certificate(iot: "IoTClient", certificate_arn: str) -> set[str]:
    """The environments whose policies are attached to the certificate."""
    policies = listed(iot, "list_attached_policies", "policies", target=certificate_arn)
    found = {names.environment_of_policy(policy["policyName"]) for policy in policies}
    return {environment for environment in found if environment}


def check_identity(
    environment: AwsEnvironment,
    folder: Path,
    device: DeviceConfig,
    thing_name: str,
    customer: str | None,
) -> None:
    """Refuse an identity whose ``device.json`` is of another device, environment or account.

    Raises:
        IdentityError: The identity is of another device or environment.
        AwsError: The identity is of another account or region.
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
        AwsError: The certificate is of another account or region.
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
    """Refuse a certificate that has a policy of another environment.

    Raises:
        AwsError: The certificate has such a policy.
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
        environment: The environment of the caller.
        thing_name: The name of an existing thing.
        principals: ARNs of the principals attached to the thing. Their policies decide if the
            thing is in no group.

    Raises:
        AwsError: The thing belongs to other environments only.
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
    """The error for something that belongs to ``owners``; ``sign`` says how that is known."""
    named = " and ".join(sorted(owners))
    return AwsError(
        f"expected {what} to belong to environment {environment}, got one of {named} (by its "
        f"{sign})",
        ExitStatus.CONFLICT,
        remedy=f"run this with --env {min(owners)}, or use another name",
    )
