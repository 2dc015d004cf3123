"""The emulator, with a stand-in for the one operation of fleet provisioning that it lacks.

Over MQTT, ministack answers CreateKeysAndCertificate, which makes a device's key far from the
device, and RegisterThing, but not CreateCertificateFromCsr: it takes the request, and is silent.
Here that topic is answered, too, by the emulator's own CreateCertificateFromCsr, with an ownership
token of the kind that its RegisterThing asks for. Policies, connections and all the rest are the
emulator's. When it learns the operation, this module has no use any more, and says so.

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
        iot: The emulator's module, whose own functions go on to answer everything else.
    """

    def __init__(self, iot: Any) -> None:
        self._iot = iot
        self._parse = iot._parse_fleet_provisioning_topic
        self._reply = iot._fleet_provisioning_reply
        if self._parse(names.SIGN_TOPIC) is not None:
            raise SystemExit("error: ministack signs requests over MQTT by itself; run it as it is")

    def install(self) -> None:
        """Have the emulator's broker ask here first."""
        self._iot._parse_fleet_provisioning_topic = self.parse
        self._iot._fleet_provisioning_reply = self.reply

    def parse(self, topic: str) -> tuple[str, str | None] | None:
        """The operation that a topic asks for, and the template, if it names one."""
        if topic == names.SIGN_TOPIC:
            return _OPERATION, None
        found: tuple[str, str | None] | None = self._parse(topic)
        return found

    async def reply(self, account_id: str, region: str, operation: str, *rest: Any) -> Answer:
        """The kind of the answer, and the answer."""
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


def main() -> None:
    """Run the emulator, as ``python -m ministack`` does."""
    # Importing it has effects that only its own process should have.
    from ministack import app  # noqa: PLC0415
    from ministack.services import iot  # noqa: PLC0415

    SigningOverMqtt(iot).install()
    app.main()


if __name__ == "__main__":
    main()
