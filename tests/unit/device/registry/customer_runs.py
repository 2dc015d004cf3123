"""Runs of device.provision for a customer, and what its identity must be after them."""

import json
from collections.abc import Iterator
from pathlib import Path

from device import identity
from device.identity import Identity
from device.registry.registration import provision
from tests.unit.device.fakes import FakeIot, environment

THING = "sensor-1"


POLICY = "dev_customer_acme_sensor-1"


OWNER = "arn:aws:iot:eu-central-1:123456789012"


def run(
    root: Path, iot: FakeIot, customer: str | None = "acme", said: list[str] | None = None
) -> Identity:
    report = (said if said is not None else []).append
    return provision(environment(root, iot), THING, report, customer=customer)


def document(iot: FakeIot, policy: str = POLICY) -> dict[str, list[str]]:
    """What the policy allows, by action."""
    (text,) = iot.documents[policy].values()
    allowed: dict[str, list[str]] = {}
    for statement in json.loads(text)["Statement"]:
        assert statement["Effect"] == "Allow"
        resources = statement["Resource"]
        allowed[statement["Action"]] = resources if isinstance(resources, list) else [resources]
    return allowed


def assert_works(root: Path, iot: FakeIot) -> None:
    """There is one certificate, with one policy, and the identity is its."""
    (certificate,) = iot.certificates.values()
    arn = certificate["certificateArn"]
    assert certificate["status"] == "ACTIVE"
    assert iot.things == {THING: {arn}}
    assert iot.policies == {"dev_device": set(), POLICY: {arn}}
    loaded = identity.load(root / "certs" / "dev" / f"{THING}.acme")
    assert loaded.device.certificate_arn == arn
    assert (loaded.device.thing_name, loaded.device.customer) == (THING, "acme")


def roots(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    step = 0
    while True:
        step += 1
        root = tmp_path / str(step)
        root.mkdir()
        yield step, root
