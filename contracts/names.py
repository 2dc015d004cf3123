"""The names that more than one part of the pipeline must agree on. Standard library only."""

import re

ENVIRONMENT_PATTERN = r"[a-z][a-z0-9]{0,15}"
CHANNEL_PATTERN = r"[a-z][a-z0-9_]{0,31}"

# https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
THING_NAME_PATTERN = r"[a-zA-Z0-9:_-]{1,128}"

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


def thing_group_name(environment: str) -> str:
    """The thing group that every device of ``environment`` belongs to."""
    return f"{environment}_devices"


def topic(environment: str, thing_name: str, channel: str) -> str:
    """The plain topic of one device's channel: ``dt/{env}/{thing}/{channel}``."""
    return f"dt/{environment}/{thing_name}/{channel}"


def basic_ingest_topic(environment: str, thing_name: str, channel: str) -> str:
    """The same through Basic Ingest, which costs no message charge.

    See https://docs.aws.amazon.com/iot/latest/developerguide/iot-basic-ingest.html
    """
    rule = rule_name(environment, channel)
    return f"$aws/rules/{rule}/{topic(environment, thing_name, channel)}"


def proof_topic(environment: str, thing_name: str) -> str:
    """Where a device may publish what nobody keeps, to see that it may publish.

    No channel can have this name, so no rule selects it.
    """
    return topic(environment, thing_name, "_proof")


def check_thing_name(thing_name: str) -> str:
    """Return ``thing_name`` if AWS IoT would take it.

    Raises:
        ValueError: It is empty, too long or has a character that is not allowed.
    """
    if not re.fullmatch(THING_NAME_PATTERN, thing_name):
        raise ValueError(
            f"expected a thing name of 1 to 128 letters, digits, ':', '_' or '-', "
            f"got {thing_name!r}"
        )
    return thing_name


def database_name(environment: str) -> str:
    """The Glue database that holds the environment's tables."""
    return f"telemetry_{environment}"


def workgroup_name(environment: str) -> str:
    """The Athena workgroup in which the environment is queried."""
    return f"telemetry-{environment}"
