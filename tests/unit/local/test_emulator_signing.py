"""local.emulator_signing: a stand-in for one operation, and for no longer than it is needed."""

import asyncio
import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from contracts import names
from local.emulator_signing import SigningOverMqtt


def emulator(*, signs_by_itself: bool = False, status: int = 200) -> Any:
    """What the stand-in uses of ministack."""
    issued = {"certificateId": "id", "certificatePem": "pem", "certificateArn": "arn"}

    async def reply(*arguments: object) -> tuple[str, dict[str, Any]]:
        return "accepted", {"asked": arguments}

    return SimpleNamespace(
        _parse_fleet_provisioning_topic=lambda topic: (
            ("provision", "t") if signs_by_itself or "provision" in topic else None
        ),
        _fleet_provisioning_reply=reply,
        _create_certificate_from_csr=lambda *_: (status, {}, json.dumps(issued)),
        _certificates={"id": {"status": "INACTIVE"}},
        _ownership_tokens={},
        _OWNERSHIP_TOKEN_SECONDS=3600,
        request_scope=lambda *_: nullcontext(),
    )


def answer(iot: Any, payload: bytes) -> tuple[str, dict[str, Any]]:
    SigningOverMqtt(iot).install()
    operation, template = iot._parse_fleet_provisioning_topic(names.SIGN_TOPIC)
    reply = iot._fleet_provisioning_reply("account", "region", operation, template, payload, {})
    result: tuple[str, dict[str, Any]] = asyncio.run(reply)
    return result


def test_signs_with_the_emulators_own_operation_and_gives_a_token_that_it_knows() -> None:
    iot = emulator()
    kind, document = answer(iot, b'{"certificateSigningRequest": "a request"}')
    assert (kind, document["certificateId"]) == ("accepted", "id")
    assert iot._certificates["id"]["status"] == "PENDING_ACTIVATION"
    assert iot._ownership_tokens[document["certificateOwnershipToken"]]["certificateId"] == "id"


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"{}", b"\xff"])
def test_rejects_what_is_no_request(payload: bytes) -> None:
    kind, document = answer(emulator(), payload)
    assert (kind, document["errorCode"]) == ("rejected", "InvalidPayload")


def test_rejects_what_the_emulator_does_not_sign() -> None:
    assert answer(emulator(status=400), b'{"certificateSigningRequest": ""}')[0] == "rejected"


def test_leaves_everything_else_to_the_emulator() -> None:
    iot = emulator()
    SigningOverMqtt(iot).install()
    topic = names.register_topic("local")
    assert iot._parse_fleet_provisioning_topic(topic) == ("provision", "t")
    asked: tuple[object, ...] = ("account", "region", "provision", "t", b"{}", {})
    assert asyncio.run(iot._fleet_provisioning_reply(*asked)) == ("accepted", {"asked": asked})


def test_ends_when_the_emulator_has_learnt_it() -> None:
    with pytest.raises(SystemExit, match="signs requests over MQTT by itself"):
        SigningOverMqtt(emulator(signs_by_itself=True))
