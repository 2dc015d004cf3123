"""AWS IoT as the devices see it that register by claim."""

import secrets
from collections.abc import Callable
from typing import Any

from awsiot import iotidentity

from contracts import names
from device.delivery.mqtt import ACKNOWLEDGED, PublishResult
from device.errors import ConnectionRefused, RequestFailed
from device.identity import Identity
from tests.unit.device.fake_broker import FakeProof
from tests.unit.device.fakes import FakeIot, Steps

THING = "sensor-1"


class Broker:
    """AWS IoT as the devices see it: fleet provisioning over MQTT, with the hook's rule."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.iot = FakeIot()  # signs, and does not tick
        self.tokens: dict[str, str] = {}
        self.things: dict[str, set[str]] = {}
        self.asked: list[str] = []
        self.revoked = False
        self.forge: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _, answer: answer

    def connect(self, used: Identity, *, client_id: str | None = None) -> "Session":
        self.steps.tick()
        if client_id is not None:
            assert client_id.startswith("dev_claim@")
            assert used.device.thing_name == names.CLAIM
            if self.revoked:
                raise ConnectionRefused("the claim certificate has been revoked")
        elif not self.works(used):
            raise ConnectionRefused("not registered")
        return Session(self)

    def works(self, used: Identity) -> bool:
        record = self.iot.certificates.get(used.device.certificate_id, {})
        return (
            record.get("status") == "ACTIVE"
            and used.device.certificate_id in self.things.get(used.device.client_id, set())
            and used.certificate_path.read_text() == record["certificatePem"]
        )

    def answer(self, topic: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(topic)
        return self.forge(topic, self._answer(topic, request))

    def _answer(self, topic: str, request: dict[str, Any]) -> dict[str, Any]:
        if topic == "$aws/certificates/create-from-csr/json":
            signed = self.iot.create_certificate_from_csr(
                certificateSigningRequest=request["certificateSigningRequest"], setAsActive=False
            )
            token = secrets.token_hex(8)
            self.tokens[token] = signed["certificateId"]
            return {
                "certificateId": signed["certificateId"],
                "certificatePem": signed["certificatePem"],
                "certificateOwnershipToken": token,
            }
        assert topic == "$aws/provisioning-templates/dev_devices/provision/json"
        certificate = self.tokens.get(request["certificateOwnershipToken"])
        if certificate is None:
            return {"errorCode": "InvalidCertificateOwnershipToken", "errorMessage": "invalid"}
        (name,) = request["parameters"].values()
        if self.things.get(name, set()) - {certificate}:
            return {"statusCode": 403, "errorCode": "AccessDenied", "errorMessage": "Denied"}
        self.things.setdefault(name, set()).add(certificate)
        self.iot.certificates[certificate]["status"] = "ACTIVE"
        return {"thingName": name, "deviceConfiguration": {}}

    def an_hour_passes(self) -> None:
        """Tokens end, and with them the certificates that nobody has registered."""
        self.tokens.clear()
        for identifier, record in list(self.iot.certificates.items()):
            if record["status"] != "ACTIVE":
                del self.iot.certificates[identifier]


class Session(FakeProof):
    def __init__(self, broker: Broker) -> None:
        super().__init__(self._proven)
        self._broker = broker

    @staticmethod
    def _proven(topic: str) -> PublishResult:
        assert topic == names.proof_topic("dev", THING)
        return ACKNOWLEDGED

    def request(self, operation: str, request: Any) -> Any:
        """As the SDK's client, which these requests and answers pass through, too."""
        topic, response = {
            "create_certificate_from_csr": (
                names.SIGN_TOPIC,
                iotidentity.CreateCertificateFromCsrResponse,
            ),
            "register_thing": (names.register_topic("dev"), iotidentity.RegisterThingResponse),
        }[operation]
        self._broker.steps.tick()
        answer = self._broker.answer(topic, request.to_payload())
        self._broker.steps.tick()  # it may be lost
        if "errorCode" in answer:
            failed = RequestFailed(f"{answer['errorCode']}: {answer['errorMessage']}")
            failed.code = answer["errorCode"]
            raise failed
        return response.from_payload(answer)
