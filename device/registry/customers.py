"""The policies of a thing's customers.

Each customer has one policy. Provisioning makes it, and ``ops.revoke`` deletes it.

A customer has its own client id, so that it does not end the thing's connection. AWS IoT knows the
thing's name as a policy variable only if the client id is that name, or if the certificate is
attached exclusively. So these policies contain names instead of variables. Each allows exactly one
client id and that customer's topics.

See https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import contracts
from contracts import names
from device import compact_json
from device.aws import listed
from device.errors import AwsError, ExitStatus

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

# A policy cannot be deleted for up to five minutes after it was detached.
# https://docs.aws.amazon.com/iot/latest/apireference/API_DeletePolicy.html
_DELETE_ATTEMPTS = 10
_DELETE_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPolicy:
    """The IoT policy of one customer of one thing."""

    policy_name: str
    thing_name: str
    customer: str


def policy_document(environment: str, thing_name: str, customer: str, owner: str) -> str:
    """The policy of a customer: connect with its client id, and publish to its own topics.

    Args:
        environment: Second level of the topics.
        thing_name: Third level of the topics.
        customer: Last level of the topics.
        owner: The beginning of ARNs: ``arn:{partition}:iot:{region}:{account}``.

    Raises:
        AwsError: The policy is longer than AWS IoT accepts.
    """
    topics = names.publish_topics(environment, thing_name, contracts.channels(), customer)
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "iot:Connect",
                "Resource": f"{owner}:client/{names.client_id(thing_name, customer)}",
            },
            {
                "Effect": "Allow",
                "Action": "iot:Publish",
                "Resource": [f"{owner}:topic/{topic}" for topic in topics],
            },
        ],
    }
    text = compact_json.encode(document).decode()
    if len(text) > names.MAX_POLICY_CHARACTERS:
        raise AwsError(
            f"expected a policy of at most {names.MAX_POLICY_CHARACTERS} characters, got "
            f"{len(text)} with {len(contracts.channels())} channels",
            ExitStatus.USAGE,
            remedy="shorten the names",
        )
    return text


def ensure_policy(
    iot: "IoTClient", policy_name: str, document: str, report: Callable[[str], None]
) -> None:
    """Make the policy, or update it to ``document`` if contracts were added or removed.

    Raises:
        botocore.exceptions.ClientError: AWS IoT refuses.
    """
    try:
        found = iot.get_policy(policyName=policy_name)["policyDocument"]
    except iot.exceptions.ResourceNotFoundException:
        iot.create_policy(policyName=policy_name, policyDocument=document)
        report(f"policy {policy_name}: created")
        return
    if json.loads(found) != json.loads(document):
        _delete_old_versions(iot, policy_name)  # AWS IoT keeps five at most
        iot.create_policy_version(
            policyName=policy_name, policyDocument=document, setAsDefault=True
        )
        report(f"policy {policy_name}: updated")


def policies(iot: "IoTClient", environment: str) -> Iterator[CustomerPolicy]:
    """The policies of all customers in ``environment``."""
    for policy in listed(iot, "list_policies", "policies"):
        found = names.customer_of_policy(environment, policy["policyName"])
        if found is not None:
            yield CustomerPolicy(
                policy_name=policy["policyName"], thing_name=found[0], customer=found[1]
            )


def certificates_with(iot: "IoTClient", policy_name: str) -> set[str]:
    """ARNs of the certificates that have the policy; empty if there is no such policy."""
    with contextlib.suppress(iot.exceptions.ResourceNotFoundException):
        targets = listed(iot, "list_targets_for_policy", "targets", policyName=policy_name)
        return {arn for arn in targets if ":cert/" in arn}
    return set()


def is_customers(iot: "IoTClient", environment: str, certificate_arn: str) -> bool:
    """Whether the certificate is a customer's, by the policy attached to it."""
    attached = listed(iot, "list_attached_policies", "policies", target=certificate_arn)
    return any(names.customer_of_policy(environment, policy["policyName"]) for policy in attached)


def delete_policy(iot: "IoTClient", policy_name: str, report: Callable[[str], None]) -> None:
    """Delete a policy that was detached from every certificate. May be repeated.

    Raises:
        AwsError: AWS IoT does not delete the policy yet.
    """
    for _ in range(_DELETE_ATTEMPTS):
        try:
            _delete_old_versions(iot, policy_name)
            iot.delete_policy(policyName=policy_name)
        except iot.exceptions.ResourceNotFoundException:
            return
        except iot.exceptions.DeleteConflictException:
            time.sleep(_DELETE_PAUSE_SECONDS)
            continue
        report(f"policy {policy_name}: deleted")
        return
    raise AwsError(
        f"policy {policy_name} cannot be deleted yet: AWS IoT keeps a policy for up to five "
        "minutes after it was detached",
        ExitStatus.CONFLICT,
        remedy="run this again in five minutes",
    )


def _delete_old_versions(iot: Any, policy_name: str) -> None:
    for version in iot.list_policy_versions(policyName=policy_name)["policyVersions"]:
        if not version["isDefaultVersion"]:
            iot.delete_policy_version(policyName=policy_name, policyVersionId=version["versionId"])
