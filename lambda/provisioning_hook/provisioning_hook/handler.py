"""The pre-provisioning hook: AWS IoT calls it before it registers a device by claim.

Many devices share a claim certificate, and it may be stolen. So the hook allows a name only if no
other device has it: a thing that has a certificate, its own or a customer's, gets no second one
this way. The certificate that is being registered does not count, so a device whose answer was lost
may ask again.

Any error here refuses the device, which may ask again.

Environment variable: ``THING_NAME_PATTERN``, the regular expression of a thing's name.

See https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

# AWS IoT waits five seconds for the answer.
_CONFIG = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})


def refusal(
    event: Mapping[str, Any], pattern: str, principals_of: Callable[[str], Iterable[str]]
) -> str | None:
    """Return why the device may not have the name that it asks for; None if it may have it.

    Args:
        event: The event from AWS IoT; its ``parameters`` come from the device.
        pattern: The regular expression of a thing's name.
        principals_of: Returns the ARNs of the principals attached to the thing of a name.
    """
    parameters = event.get("parameters")
    name = parameters.get("ThingName") if isinstance(parameters, Mapping) else None
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        return "ThingName is missing or not a thing's name"
    own = event["certificateId"]
    if any(arn.rpartition("/")[2] != own for arn in principals_of(name)):
        return "the thing has a certificate already"
    return None


def handler(event: Mapping[str, Any], _context: object) -> dict[str, bool]:
    """Answer AWS IoT, and log each answer with the claim certificate that was used."""
    reason = refusal(event, os.environ["THING_NAME_PATTERN"], _principals_of)
    # Values that the device sent are not logged.
    answer = {
        "allowed": reason is None,
        "reason": reason,
        "claim_certificate_id": event.get("claimCertificateId"),
        "certificate_id": event.get("certificateId"),
    }
    print(json.dumps(answer))
    return {"allowProvisioning": reason is None}


@cache
def _iot() -> Any:
    return boto3.client("iot", config=_CONFIG)


def _principals_of(thing_name: str) -> list[str]:
    try:
        pages = _iot().get_paginator("list_thing_principals").paginate(thingName=thing_name)
        return [arn for page in pages for arn in page["principals"]]
    except _iot().exceptions.ResourceNotFoundException:
        return []
