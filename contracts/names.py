"""The names that more than one part of the pipeline must agree on. Standard library only."""

import re
from collections.abc import Iterable

ENVIRONMENT_PATTERN = r"[a-z][a-z0-9]{0,15}"
CHANNEL_PATTERN = r"[a-z][a-z0-9_]{0,31}"

# https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
THING_NAME_PATTERN = r"[a-zA-Z0-9:_-]{1,128}"

# One level of a topic. No '.' and '_', which separate it from other parts of names.
CUSTOMER_PATTERN = r"[a-zA-Z0-9-]{1,64}"

# https://docs.aws.amazon.com/iot/latest/apireference/API_CreatePolicy.html
_MAX_POLICY_NAME = 128
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#iot-security-identity-limits
MAX_POLICY_CHARACTERS = 2048

# Where a device that registers by claim has its certificate signed.
# https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
SIGN_TOPIC = "$aws/certificates/create-from-csr/json"

# The thing's name in the description of a claim certificate; no thing can have this name.
CLAIM = "@claim"

# The template's one parameter.
THING_NAME_PARAMETER = "ThingName"

# A topic is at most 256 bytes of UTF-8, not counting Basic Ingest's prefix.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#limits_iot
MAX_TOPIC_BYTES = 256


def stack_name(environment: str) -> str:
    """The CloudFormation stack that holds ``environment``."""
    return f"telemetry-{environment}"


def rule_name(environment: str, channel: str) -> str:
    """The topic rule of one channel: ``{env}_{channel}``."""
    return f"{environment}_{channel}"


def device_policy_name(environment: str) -> str:
    """The one IoT policy that every device certificate of ``environment`` carries."""
    return f"{environment}_device"


def claim_policy_name(environment: str) -> str:
    """The IoT policy of certificates that register devices by claim, and can do nothing else."""
    return f"{environment}_claim"


def provisioning_template_name(environment: str) -> str:
    """The fleet provisioning template of ``environment``."""
    return f"{environment}_devices"


def claim_client_id(environment: str, suffix: str) -> str:
    """The MQTT client id of a device that registers by claim.

    Each device needs its own suffix; with the same one they would disconnect each other. No
    thing's name has an '@', and so no device's client id: a claim certificate can never connect in
    a device's place.
    """
    return f"{environment}_claim@{suffix}"


def register_topic(environment: str) -> str:
    """Where a device asks to be registered.

    See https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
    """
    return f"$aws/provisioning-templates/{provisioning_template_name(environment)}/provision/json"


def thing_group_name(environment: str) -> str:
    """The thing group that every device of ``environment`` belongs to."""
    return f"{environment}_devices"


def client_id(thing_name: str, customer: str | None = None) -> str:
    """The MQTT client id: ``{thing}``, or ``{thing}.{customer}`` for one of its customers.

    The broker keeps one connection per client id, so each identity has its own. They all differ,
    since no thing's name has a dot.
    """
    return thing_name if customer is None else f"{thing_name}.{customer}"


def customer_policy_name(environment: str, thing_name: str, customer: str) -> str:
    """The IoT policy of one customer of one thing: ``{env}_customer_{customer}_{thing}``.

    AWS IoT allows no ':' in a policy's name: '_-' stands for a ':' of the thing's name, '__' for
    '_'.
    """
    escaped = thing_name.replace("_", "__").replace(":", "_-")
    return f"{environment}_customer_{customer}_{escaped}"


def policy_name(environment: str, thing_name: str, customer: str | None) -> str:
    """The IoT policy that an identity's certificate carries."""
    if customer is None:
        return device_policy_name(environment)
    return customer_policy_name(environment, thing_name, customer)


def customer_of_policy(environment: str, policy_name: str) -> tuple[str, str] | None:
    """The thing and the customer whose policy it is; None for any other policy."""
    form = rf"{environment}_customer_({CUSTOMER_PATTERN})_((?:[a-zA-Z0-9-]|__|_-)+)"
    found = re.fullmatch(form, policy_name)
    if found is None:
        return None
    return re.sub("_[_-]", lambda two: "_" if two[0] == "__" else ":", found[2]), found[1]


def environment_of_policy(policy_name: str) -> str | None:
    """The environment whose certificates carry the policy; None if it is not one of ours."""
    form = rf"({ENVIRONMENT_PATTERN})_(?:device|claim|customer_{CUSTOMER_PATTERN}_.+)"
    found = re.fullmatch(form, policy_name)
    return None if found is None else found[1]


def environment_of_group(thing_group_name: str) -> str | None:
    """The environment whose things are in the group; None if it is not one of ours."""
    found = re.fullmatch(rf"({ENVIRONMENT_PATTERN})_devices", thing_group_name)
    return None if found is None else found[1]


def topic(environment: str, thing_name: str, channel: str, customer: str | None = None) -> str:
    """The plain topic of a thing's channel, or of a customer's part of it.

    It is ``dt/{env}/{thing}/{channel}``, and ``/{customer}`` after it.
    """
    plain = f"dt/{environment}/{thing_name}/{channel}"
    return plain if customer is None else f"{plain}/{customer}"


def basic_ingest_topic(
    environment: str, thing_name: str, channel: str, customer: str | None = None
) -> str:
    """The same through Basic Ingest, which costs no message charge.

    See https://docs.aws.amazon.com/iot/latest/developerguide/iot-basic-ingest.html
    """
    rule = rule_name(environment, channel)
    return f"$aws/rules/{rule}/{topic(environment, thing_name, channel, customer)}"


def proof_topic(environment: str, thing_name: str, customer: str | None = None) -> str:
    """Where a device tests that it may publish; nobody keeps the message.

    No channel can have this name, so no rule selects it.
    """
    return topic(environment, thing_name, "_proof", customer)


def publish_topics(
    environment: str, thing_name: str, channels: Iterable[str], customer: str | None = None
) -> list[str]:
    """Every topic that a thing's, or a customer's, certificate may publish to."""
    topics = [
        build(environment, thing_name, channel, customer)
        for channel in channels
        for build in (topic, basic_ingest_topic)
    ]
    return [*topics, proof_topic(environment, thing_name, customer)]


def check_thing_name(thing_name: str) -> str:
    """Return ``thing_name`` if AWS IoT would accept it.

    Raises:
        ValueError: It is empty, too long or has a character that is not allowed.
    """
    if not re.fullmatch(THING_NAME_PATTERN, thing_name):
        raise ValueError(
            f"expected a thing name of 1 to 128 letters, digits, ':', '_' or '-', "
            f"got {thing_name!r}"
        )
    return thing_name


def check_customer(environment: str, thing_name: str, customer: str) -> str:
    """Return ``customer`` if it can have a topic, a client id and a policy of ``thing_name``.

    The limit on the policy's name also keeps client id and topic within AWS IoT's limits.

    Raises:
        ValueError: It is empty, has a character that is not allowed, or is too long.
    """
    if not re.fullmatch(CUSTOMER_PATTERN, customer):
        raise ValueError(
            f"expected a customer's name of 1 to 64 letters, digits or '-', got {customer!r}"
        )
    policy = customer_policy_name(environment, thing_name, customer)
    if len(policy) > _MAX_POLICY_NAME:
        raise ValueError(
            f"expected names that make a policy's name of at most {_MAX_POLICY_NAME} characters, "
            f"got {len(policy)}: {policy!r}"
        )
    return customer


def database_name(environment: str) -> str:
    """The Glue database that holds the environment's tables."""
    return f"telemetry_{environment}"


def workgroup_name(environment: str) -> str:
    """The Athena workgroup in which the environment is queried."""
    return f"telemetry-{environment}"
