"""Certificate, thing and policy in AWS IoT."""

import contextlib

from contracts import names
from device import aws, identity
from device.errors import ExitStatus, IdentityError
from device.registry import ownership
from ops.doctor import remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed, Skipped


def certificate(context: Context) -> str:
    """AWS IoT knows the certificate, and it is active."""
    device, iot = context.device, context.client("iot")
    try:
        found = iot.describe_certificate(certificateId=device.certificate_id)
    except iot.exceptions.ResourceNotFoundException:
        raise Failed(
            f"certificate {device.certificate_id} is not in this account",
            remedies.provision(context),
        ) from None
    description = found["certificateDescription"]
    ownership.check_certificate(iot, context.environment_name, device.certificate_arn)
    if description["status"] == "REVOKED":
        raise Failed(f"certificate {device.certificate_id} is REVOKED", remedies.provision(context))
    if description["status"] != "ACTIVE":
        arguments = "iot update-certificate --new-status ACTIVE --certificate-id "
        raise Failed(
            f"certificate {device.certificate_id} is {description['status']}",
            remedies.command(context, arguments + device.certificate_id),
        )
    ours = context.identity.certificate_path
    with contextlib.suppress(IdentityError):  # the identity stage has reported it
        if identity.public_key_of_certificate(ours) != identity.public_key_of_pem(
            description["certificatePem"]
        ):
            raise Failed(
                f"{ours} is another certificate than device.json names",
                remedies.provision(context),
            )
    return f"{device.certificate_id} is ACTIVE"


def thing(context: Context) -> str:
    """The certificate is attached to this thing."""
    device, iot = context.device, context.client("iot")
    things = list(
        aws.listed(iot, "list_principal_things", "things", principal=device.certificate_arn)
    )
    if device.thing_name in things:
        ownership.check_thing(
            iot, context.environment_name, device.thing_name, [device.certificate_arn]
        )
        return f"certificate attached to {device.thing_name}"
    if not things:
        raise Failed("the certificate is attached to no thing", remedies.provision(context))
    detach = f"iot detach-thing-principal --thing-name {things[0]} --principal "
    raise Failed(
        f"the certificate is attached to {', '.join(things)}, not to {device.thing_name}",
        f"{remedies.command(context, detach + device.certificate_arn)}, then "
        f"{remedies.provision(context).removeprefix('run ')}",
    )


def policy(context: Context) -> str:
    """The device's policy, or the customer's, is attached to the certificate."""
    expected = names.policy_name(context.environment_name, context.thing_name, context.customer)
    iot, arn = context.client("iot"), context.device.certificate_arn
    policies = aws.listed(iot, "list_attached_policies", "policies", target=arn)
    attached = [found["policyName"] for found in policies]
    if expected not in attached:
        raise Failed(
            f"policy {expected} is not attached to the certificate"
            + (f", only {', '.join(attached)}" if attached else ""),
            remedies.provision(context),
        )
    return f"{expected} attached to the certificate"


def client_id(context: Context) -> str:
    """The policy lets the device connect under its client id."""
    if not _authorized(context, "CONNECT", f"client/{context.client_id}"):
        raise Failed(
            f"the certificate's policies do not allow client id {context.client_id}",
            remedies.fix_policy(context),
        )
    return f"the policy allows {context.client_id}"


def topic(context: Context) -> str:
    """The policy lets the device publish where the rule reads."""
    for allowed in (context.topic, context.plain_topic):
        if not _authorized(context, "PUBLISH", f"topic/{allowed}"):
            raise Failed(
                f"the certificate's policies do not allow topic {allowed}",
                remedies.fix_policy(context),
            )
    return f"the policy allows {context.plain_topic}"


def _authorized(context: Context, action: str, resource: str) -> bool:
    """Whether AWS IoT would allow it."""
    if context.environment_name == aws.LOCAL:
        raise Skipped("the local stack cannot evaluate policies without a connection")
    arn = f"{context.device.certificate_arn.partition(':cert/')[0]}:{resource}"
    answer = context.client("iot").test_authorization(
        principal=context.device.certificate_arn,
        clientId=context.client_id,
        authInfos=[{"actionType": action, "resources": [arn]}],
    )
    return all(result["authDecision"] == "ALLOWED" for result in answer["authResults"])


STAGE = Stage(
    "registration",
    ExitStatus.REGISTRATION,
    {
        "certificate": certificate,
        "thing": thing,
        "policy": policy,
        "client id": client_id,
        "topic": topic,
    },
    needs=("environment",),
)
