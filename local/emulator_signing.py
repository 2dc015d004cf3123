"""CreateCertificateFromCsr over MQTT, which the emulator lacks and fleet provisioning needs.

ministack answers CreateKeysAndCertificate (which makes a device's key far from the device) and
RegisterThing over MQTT, but not CreateCertificateFromCsr. ``SigningOverMqtt`` answers that topic
with the emulator's own CreateCertificateFromCsr and an ownership token that its RegisterThing
accepts. When ministack learns the operation, this module refuses to start and can be deleted.

See https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
"""

import json
import secrets
import time
from typing import Any

from contracts import names

_OPERATION = "create-from-csr"

Answer = tuple[str, dict[str, Any]]


class SigningOverMqtt:
    """CreateCertificateFromCsr over MQTT.

    Args:
        iot: The emulator's module; its own functions answer every other operation.
    """

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._parse = iot._parse_fleet_provisioning_topic
        self._reply = iot._fleet_provisioning_reply
        if self._parse(names.SIGN_TOPIC) is not None:
            raise SystemExit("error: ministack signs requests over MQTT by itself; run it as it is")

    def install(self) -> None:
        """Make the emulator's broker call ``parse`` and ``reply``."""
        self._iot._parse_fleet_provisioning_topic = self.parse
        self._iot._fleet_provisioning_reply = self.reply

    def parse(self, topic: str) -> tuple[str, str | None] | None:
        """The operation and the template that a topic names."""
        if topic == names.SIGN_TOPIC:
            return _OPERATION, None
        found: tuple[str, str | None] | None = self._parse(topic)
        return found

    async def reply(self, account_id: str, region: str, operation: str, *rest: Any) -> Answer:
        """The kind of the answer (``accepted`` or ``rejected``) and its document."""
        if operation != _OPERATION:
            answer: Answer = await self._reply(account_id, region, operation, *rest)
            return answer
        _template_name, payload, _connection = rest
        try:
            request = json.loads(payload)["certificateSigningRequest"]
        except (ValueError, LookupError, TypeError):
            return _rejected("InvalidPayload", "Message cannot be parsed")
        with self._iot.request_scope(account_id, region):
            return self._sign(request)

    def _sign(self, request: object) -> Answer:
        iot = self._iot
        asked = {"certificateSigningRequest": request}
        status, _headers, body = iot._create_certificate_from_csr(asked, {})
        if status != 200:
            return _rejected("InvalidCertificateSigningRequest", "CSR violates constraints")
        issued = json.loads(body)
        iot._certificates[issued["certificateId"]]["status"] = "PENDING_ACTIVATION"
        token = secrets.token_urlsafe(48)
        iot._ownership_tokens[token] = {
            "certificateId": issued["certificateId"],
            "expiration": time.time() + iot._OWNERSHIP_TOKEN_SECONDS,
        }
        return "accepted", {
            "certificateId": issued["certificateId"],
            "certificatePem": issued["certificatePem"],
            "certificateOwnershipToken": token,
        }


def _rejected(code: str, message: str) -> Answer:
    return "rejected", {"statusCode": 400, "errorCode": code, "errorMessage": message}
