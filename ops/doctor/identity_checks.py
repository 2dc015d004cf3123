"""The stages around the device itself: its files, its registration, its way to the broker."""

import contextlib
import json
import socket
import ssl
import stat
from datetime import timedelta

from botocore.exceptions import ClientError
from cryptography import x509

from contracts import names
from device import aws, identity
from device.delivery import mqtt
from device.delivery.spool import look
from device.errors import AwsError, ExitStatus, IdentityError, SpoolInUse
from device.registry import certificates, ownership
from ops.doctor import policies
from ops.doctor.context import Context, Skipped
from ops.doctor.findings import Failed, Stage

_TIMEOUT_SECONDS = 5.0

# AWS refuses requests whose clock is further off.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed)
_CLOCK_TOLERANCE = timedelta(minutes=5)


def files(context: Context) -> str:
    """Every file of the identity is there, and provisioning has completed."""
    if not context.folder.is_dir():
        raise Failed(f"there is no identity in {context.folder}", context.provision)
    if (context.folder / certificates.JOURNAL_FILE).exists():
        raise Failed("provisioning was interrupted", context.provision)
    device = identity.read_device(context.folder)
    found = (device.environment, device.thing_name, device.customer)
    if found != (context.environment_name, context.thing_name, context.customer):
        raise Failed(
            f"device.json is of {device.client_id} in {device.environment}",
            "move the folder to where its device.json says",
        )
    for path in (
        context.identity.certificate_path,
        context.identity.key_path,
        context.identity.ca_path,
    ):
        if not path.is_file():
            raise Failed(f"there is no {path}", context.provision)
    return str(context.folder)


def modes(context: Context) -> str:
    """Nobody but the owner can read the key."""
    for path, mode in ((context.identity.key_path, 0o600), (context.folder, 0o700)):
        found = stat.S_IMODE(path.stat().st_mode)
        if found & 0o077:
            raise Failed(
                f"{path} is open to other users of this machine (mode {found:04o})",
                f"run chmod {mode:o} {path}",
            )
    return "for their owner alone"


def pair(context: Context) -> str:
    """Key and certificate belong together."""
    identity.load(context.folder)
    return "the certificate is the key's"


def ca(context: Context) -> str:
    """There is something to tell the broker by."""
    path = context.identity.ca_path
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise Failed(f"there is no PEM certificate in {path}", context.provision) from None
    return f"{len(found)} to tell the broker by"


def dates(context: Context) -> str:
    """The certificate is valid now, by this machine's clock."""
    certificate = x509.load_pem_x509_certificate(context.identity.certificate_path.read_bytes())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = context.clock()
    if now < begins:
        raise Failed(
            f"the certificate is valid from {begins:%Y-%m-%d}, and this machine's clock says "
            f"{now:%Y-%m-%d %H:%M} UTC",
            "set this machine's clock",
        )
    if now >= ends:
        raise Failed(
            f"the certificate has expired on {ends:%Y-%m-%d}",
            f"run python -m device.rotate {context.options}",
        )
    return f"valid until {ends:%Y-%m-%d}"


def clock(context: Context) -> str:
    """This machine's clock agrees with AWS's; the first question, as AWS answers no other else."""
    try:
        theirs = aws.time_of(context.environment_name, context.root)
    except AwsError:
        raise Skipped("AWS does not answer") from None  # the next check says why
    if theirs is None:
        raise Skipped("the endpoint does not tell the time")
    ours = context.clock()
    if abs(ours - theirs) > _CLOCK_TOLERANCE:
        raise Failed(
            f"this machine's clock says {ours:%Y-%m-%d %H:%M:%S} UTC, AWS's "
            f"{theirs:%Y-%m-%d %H:%M:%S} UTC",
            "set this machine's clock",
        )
    return "agrees with AWS"


def account(context: Context) -> str:
    """The credentials are of the environment's account and region."""
    context.environment = aws.session_for(context.environment_name, context.root)
    return f"{context.environment.account}, {context.environment.region}"


def stack(context: Context) -> str:
    """The environment is deployed."""
    context.cloud.check_stack()
    return names.stack_name(context.environment_name)


def owner(context: Context) -> str:
    """The identity is of this account and region."""
    expected = f"account {context.cloud.account}, {context.cloud.region}"
    arn = context.device.certificate_arn
    region, account_ = ([*arn.split(":"), "", "", "", "", ""])[3:5]
    found = f"account {account_}, {region}"
    if found != expected:
        raise Failed(
            f"the identity is of {found if account_ else arn}, the environment of {expected}",
            f"use the identity's account, or move {context.folder} away and provision anew",
        )
    return "the identity is of this account"


def endpoint(context: Context) -> str:
    """The identity names the environment's broker."""
    broker, device = context.cloud.broker(), context.device
    if (device.endpoint, device.port) != (broker.host, broker.port):
        raise Failed(
            f"device.json names {device.endpoint}:{device.port}, the broker is "
            f"{broker.host}:{broker.port}",
            context.provision,
        )
    return f"{broker.host}:{broker.port}"


def dns(context: Context) -> str:
    """The broker's name has an address."""
    device = context.device
    try:
        found = socket.getaddrinfo(device.endpoint, device.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failed(
            f"{device.endpoint} has no address: {error.strerror}",
            "mend this machine's DNS or network",
        ) from None
    return ", ".join(sorted({str(address[4][0]) for address in found}))


def tcp(context: Context) -> str:
    """Something listens there."""
    device = context.device
    try:
        socket.create_connection((device.endpoint, device.port), _TIMEOUT_SECONDS).close()
    except OSError as error:
        mend = (
            "run python -m local up --detach"
            if context.environment_name == aws.LOCAL
            else f"let this machine reach TCP port {device.port}: check its network and firewalls"
        )
        raise Failed(
            f"nothing answers at {device.endpoint}:{device.port}: {error.strerror or error}", mend
        ) from None
    return f"port {device.port} is open"


def tls(context: Context) -> str:
    """What listens proves to be the broker."""
    device, ours = context.device, context.identity
    try:
        trusted = ssl.create_default_context(cafile=ours.ca_path)
        trusted.load_cert_chain(ours.certificate_path, ours.key_path)
    except OSError:
        raise Skipped("TLS cannot use the identity's files") from None
    try:
        with (
            socket.create_connection((device.endpoint, device.port), _TIMEOUT_SECONDS) as plain,
            trusted.wrap_socket(plain, server_hostname=device.endpoint) as secure,
        ):
            return secure.version() or ""
    except ssl.SSLCertVerificationError as error:
        raise Failed(
            f"what answers is not a broker that {ours.ca_path.name} vouches for: "
            f"{error.verify_message}",
            context.provision,
        ) from None
    except OSError as error:
        raise Failed(
            f"TLS failed: {error.strerror or error}",
            "look for a proxy or firewall that takes TLS apart, and let the broker's port pass",
        ) from None


def certificate(context: Context) -> str:
    """AWS IoT knows the certificate, and it is active."""
    device, iot = context.device, context.client("iot")
    try:
        found = iot.describe_certificate(certificateId=device.certificate_id)
    except iot.exceptions.ResourceNotFoundException:
        raise Failed(
            f"certificate {device.certificate_id} is not in this account", context.provision
        ) from None
    description = found["certificateDescription"]
    ownership.check_certificate(iot, context.environment_name, device.certificate_arn)
    if description["status"] == "REVOKED":
        raise Failed(f"certificate {device.certificate_id} is REVOKED", context.provision)
    if description["status"] != "ACTIVE":
        raise Failed(
            f"certificate {device.certificate_id} is {description['status']}",
            context.command(
                "iot update-certificate --new-status ACTIVE --certificate-id "
                f"{device.certificate_id}"
            ),
        )
    ours = context.identity.certificate_path
    with contextlib.suppress(IdentityError):  # which the identity's stage has told of
        if identity.public_key_of_certificate(ours) != identity.public_key_of_pem(
            description["certificatePem"]
        ):
            raise Failed(f"{ours} is another certificate than device.json names", context.provision)
    return f"{device.certificate_id} is ACTIVE"


def thing(context: Context) -> str:
    """The certificate is attached to this thing."""
    device = context.device
    things = _things(context)
    if device.thing_name in things:
        ownership.check_thing(
            context.client("iot"),
            context.environment_name,
            device.thing_name,
            [device.certificate_arn],
        )
        return f"certificate attached to {device.thing_name}"
    if not things:
        raise Failed("the certificate is attached to no thing", context.provision)
    raise Failed(
        f"the certificate is attached to {', '.join(things)}, not to {device.thing_name}",
        context.command(
            f"iot detach-thing-principal --thing-name {things[0]} --principal "
            f"{device.certificate_arn}"
        )
        + f", then {context.provision.removeprefix('run ')}",
    )


def policy(context: Context) -> str:
    """The device's policy, or the customer's, is attached to the certificate."""
    expected = names.policy_name(context.environment_name, context.thing_name, context.customer)
    attached = _policy_names(context)
    if expected not in attached:
        raise Failed(
            f"policy {expected} is not attached to the certificate"
            + (f", only {', '.join(attached)}" if attached else ""),
            context.provision,
        )
    return f"{expected} attached to the certificate"


def client_id(context: Context) -> str:
    """The policy lets the device connect under its client id."""
    arn = f"client/{context.client_id}"
    if not _authorized(context, "CONNECT", arn):
        raise Failed(
            f"the certificate's policies do not allow client id {context.client_id}",
            context.mend_policy,
        )
    return f"the policy allows {context.client_id}"


def topic(context: Context) -> str:
    """The policy lets the device publish where the rule reads."""
    for allowed in (context.topic, context.plain_topic):
        if not _authorized(context, "PUBLISH", f"topic/{allowed}"):
            raise Failed(
                f"the certificate's policies do not allow topic {allowed}", context.mend_policy
            )
    return f"the policy allows {context.plain_topic}"


def connect(context: Context) -> str:
    """The broker takes the connection."""
    with mqtt.Connection(context.identity):
        return "the broker took the connection"


def publish(context: Context) -> str:
    """The broker takes a message, to a topic that nobody reads."""
    where = context.device.proof_topic
    with mqtt.Connection(context.identity) as connection:
        delivery = connection.publish(where, b"").result()
    if delivery.outcome is not mqtt.Outcome.ACKNOWLEDGED:
        raise Failed(
            f"the broker did not take a message to {where}: {delivery.reason}",
            context.mend_policy,
        )
    return f"the broker took a message to {where}, which nobody keeps"


def spool(context: Context) -> str:
    """No reading is still on this machine, with nobody at work to send it."""
    path = context.identity.spool_path
    if not path.exists():
        return "no publisher has left anything"
    try:
        contents = look(path)
    except SpoolInUse:
        return "a publisher is at work"
    customer = "" if context.customer is None else f" --customer {context.customer}"
    publish = (
        f"run python -m device.publish --env {context.environment_name} --thing "
        f"{context.thing_name}{customer} --file /dev/null"  # nothing more than what is there
    )
    if contents.waiting:
        refused = f", {contents.refused} of them refused by the broker" if contents.refused else ""
        raise Failed(
            f"{contents.waiting} readings of an earlier run are still here{refused}", publish
        )
    return "empty"


def _things(context: Context) -> list[str]:
    pages = context.client("iot").get_paginator("list_principal_things")
    return [
        name
        for page in pages.paginate(principal=context.device.certificate_arn)
        for name in page["things"]
    ]


def _policy_names(context: Context) -> list[str]:
    pages = context.client("iot").get_paginator("list_attached_policies")
    return [
        found["policyName"]
        for page in pages.paginate(target=context.device.certificate_arn)
        for found in page["policies"]
    ]


def _authorized(context: Context, action: str, resource: str) -> bool:
    """Ask the service; where it cannot say, evaluate the policies here."""
    arn = context.device.certificate_arn.partition(":cert/")[0] + f":{resource}"
    try:
        answer = context.client("iot").test_authorization(
            principal=context.device.certificate_arn,
            clientId=context.client_id,
            authInfos=[{"actionType": action, "resources": [arn]}],
        )
    except ClientError:
        iot = context.client("iot")
        documents = [
            json.loads(iot.get_policy(policyName=name)["policyDocument"])
            for name in _policy_names(context)
        ]
        values = policies.variables(context.client_id, _things(context))
        return policies.allows(documents, f"iot:{action.title()}", arn, values)
    return all(result["authDecision"] == "ALLOWED" for result in answer["authResults"])


IDENTITY = Stage(
    "identity",
    ExitStatus.IDENTITY,
    {"files": files, "modes": modes, "pair": pair, "ca": ca, "dates": dates},
)
ENVIRONMENT = Stage(
    "environment",
    ExitStatus.ENVIRONMENT,
    {"clock": clock, "account": account, "stack": stack, "owner": owner},
)
NETWORK = Stage(
    "network",
    ExitStatus.UNREACHABLE,
    {"endpoint": endpoint, "dns": dns, "tcp": tcp, "tls": tls},
)
REGISTRATION = Stage(
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
BROKER = Stage(
    "broker",
    ExitStatus.CONNECTION_REFUSED,
    {"connect": connect, "publish": publish},
    needs=("identity", "network", "registration"),
)
SPOOL = Stage(
    "spool",
    ExitStatus.SPOOL,
    {"readings": spool},
    needs=("identity", "network", "registration", "broker"),
)
