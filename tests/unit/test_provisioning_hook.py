"""The pre-provisioning hook: a claim certificate takes over no device, whatever a device says."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from contracts import names
from provisioning_hook import handler as hook

OWN = "own"
ARN = "arn:aws:iot:eu-central-1:123456789012:cert/"


def event(parameters: object) -> dict[str, Any]:
    """As AWS IoT sends it."""
    return {
        "claimCertificateId": "claim",
        "certificateId": OWN,
        "certificatePem": "-----BEGIN CERTIFICATE-----",
        "templateArn": "arn:aws:iot:eu-central-1:123456789012:provisioningtemplate/dev_devices",
        "clientId": "dev_claim@1",
        "parameters": parameters,
    }


class FakeIot:
    """Things and their certificates' ids; a tuple of pages, None for a thing that is not there."""

    class exceptions:  # noqa: N801  # as the client's
        class ResourceNotFoundException(ClientError):  # noqa: N818  # as AWS calls it
            def __init__(self) -> None:
                super().__init__({"Error": {"Code": "ResourceNotFoundException"}}, "List")

    def __init__(self, pages: tuple[list[str], ...] | None) -> None:
        self.pages = pages
        self.asked: list[str] = []

    def get_paginator(self, operation: str) -> "FakeIot":
        assert operation == "list_thing_principals"
        return self

    def paginate(self, *, thingName: str) -> list[dict[str, list[str]]]:  # noqa: N803  # AWS's
        self.asked.append(thingName)
        if self.pages is None:
            raise self.exceptions.ResourceNotFoundException
        return [{"principals": [ARN + identifier for identifier in page]} for page in self.pages]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    monkeypatch.setenv("THING_NAME_PATTERN", names.THING_NAME_PATTERN)

    def ask(iot: FakeIot, parameters: object) -> bool:
        monkeypatch.setattr(hook, "_iot", lambda: iot)
        said = hook.handler(event(parameters), None)
        assert set(said) == {"allowProvisioning"}
        return said["allowProvisioning"]

    return ask


@pytest.mark.parametrize(
    ("pages", "allowed"),
    [
        pytest.param(None, True, id="no such thing"),
        pytest.param(([],), True, id="made beforehand"),
        pytest.param(([OWN],), True, id="its own, whose answer was lost"),
        pytest.param((["other"],), False, id="another device's"),
        pytest.param(([OWN, "other"],), False, id="its own and another's"),
        pytest.param(([], [OWN], ["other"]), False, id="on a later page"),
    ],
)
def test_gives_a_name_only_if_no_device_has_it(
    answer: Callable[..., bool], pages: tuple[list[str], ...] | None, *, allowed: bool
) -> None:
    iot = FakeIot(pages)
    assert answer(iot, {"ThingName": "sensor-1"}) is allowed
    assert iot.asked == ["sensor-1"]


@pytest.mark.parametrize(
    "parameters",
    [
        *(None, [], "ThingName", {}, {"thingname": "sensor-1"}),
        *({"ThingName": name} for name in (None, 7, ["sensor-1"], {"Ref": "x"}, "", "a" * 129)),
        *({"ThingName": name} for name in ("a/b", "a b", "sensor-1\n", "+", "#", "$aws", "é", "*")),
        *({"ThingName": name} for name in ("@claim", "sensor-1.acme", "../x", "a\0", "${x}")),
    ],
    ids=repr,
)
def test_refuses_what_is_no_things_name_without_looking_it_up(
    answer: Callable[..., bool], parameters: object
) -> None:
    iot = FakeIot(None)
    assert answer(iot, parameters) is False
    assert iot.asked == []


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_a_name_of_any_kind_is_refused_or_a_things_name(name: object) -> None:
    refused = hook.refusal(event({"ThingName": name}), names.THING_NAME_PATTERN, lambda _: [])
    try:
        named = isinstance(name, str) and bool(names.check_thing_name(name))
    except ValueError:
        named = False
    assert (refused is None) == named


def test_does_not_consent_when_it_cannot_look(
    answer: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Throttled(FakeIot):
        def paginate(self, **_: object) -> list[dict[str, list[str]]]:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "ListThingPrincipals")

    with pytest.raises(ClientError):  # AWS IoT takes a failure of the hook for a refusal
        answer(Throttled(None), {"ThingName": "sensor-1"})


def test_logs_the_claim_certificate_and_nothing_that_the_device_said(
    answer: Callable[..., bool], capsys: pytest.CaptureFixture[str]
) -> None:
    answer(FakeIot((["other"],)), {"ThingName": "secret-name", "more": "secret-too"})
    answer(FakeIot(None), {"ThingName": "secret name"})
    said = capsys.readouterr().out
    assert "secret" not in said
    assert [json.loads(line)["allowed"] for line in said.splitlines()] == [False, False]
    assert json.loads(said.splitlines()[0])["claim_certificate_id"] == "claim"
