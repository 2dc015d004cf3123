"""Remove a certificate from AWS IoT, in the order that is safe and that AWS IoT accepts."""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from device.aws import listed

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

# Detaching a thing is asynchronous; the certificate can be deleted only after it. forceDelete
# deletes it although policies are attached.
# https://docs.aws.amazon.com/iot/latest/apireference/API_DetachThingPrincipal.html
# https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteCertificate.html
_DELETE_ATTEMPTS = 10
_DELETE_PAUSE_SECONDS = 1.0


def deactivate(
    iot: "IoTClient",
    certificate_arn: str,
    status: Literal["INACTIVE", "REVOKED"],
    report: Callable[[str], None],
) -> bool:
    """Set the certificate to ``status``; return False if the certificate no longer exists."""
    certificate_id = certificate_arn.rpartition("/")[2]
    try:
        found = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    except iot.exceptions.ResourceNotFoundException:
        return False
    if found["status"] not in {status, "REVOKED"}:
        iot.update_certificate(certificateId=certificate_id, newStatus=status)
        report(f"certificate {certificate_id}: {status.lower()}")
    return True


def retire(iot: "IoTClient", certificate_arn: str, report: Callable[[str], None]) -> None:
    """Deactivate the certificate, detach it from everything, and delete it.

    It is deactivated first, so that nobody can use it if a later step fails. Its policies are
    detached last, by the deletion itself: they are how a later run finds it. May be repeated, also
    while another thread does the same.

    Raises:
        botocore.exceptions.ClientError: AWS IoT refuses.
    """
    if not deactivate(iot, certificate_arn, "INACTIVE", report):
        return
    for name in list(listed(iot, "list_principal_things", "things", principal=certificate_arn)):
        with contextlib.suppress(iot.exceptions.ResourceNotFoundException):
            iot.detach_thing_principal(thingName=name, principal=certificate_arn)
    certificate_id = certificate_arn.rpartition("/")[2]
    for attempt in range(1, _DELETE_ATTEMPTS + 1):
        try:
            iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
            break
        except iot.exceptions.DeleteConflictException:
            if attempt == _DELETE_ATTEMPTS:
                raise
            time.sleep(_DELETE_PAUSE_SECONDS)
        except iot.exceptions.ResourceNotFoundException:
            return
    report(f"certificate {certificate_id}: detached and deleted")
