"""Runs of device.provision, and what an identity must be after them."""

from pathlib import Path

from device import identity
from device.identity import Identity
from device.registry.registration import provision
from tests.unit.device.fakes import FakeIot, environment

THING = "sensor-1"


def run(root: Path, iot: FakeIot, said: list[str] | None = None) -> Identity:
    return provision(environment(root, iot), THING, (said if said is not None else []).append)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_works(root: Path, iot: FakeIot) -> None:
    """There is one certificate, it is whole, and the identity is its."""
    ours = [c for c in iot.certificates.values() if not c["certificateId"].startswith("old")]
    (certificate,) = ours
    arn = certificate["certificateArn"]
    assert certificate["status"] == "ACTIVE"
    assert iot.things == {THING: {arn}}
    assert iot.policies == {"dev_device": {arn}}
    assert iot.groups == {"dev_devices": {THING}}
    loaded = identity.load(root / "certs" / "dev" / THING)  # sees that they are a pair
    assert loaded.device.certificate_arn == arn
    assert loaded.certificate_path.read_text() == certificate["certificatePem"]
    assert sorted(files(loaded.folder)) == [
        "ca.pem",
        "certificate.pem",
        "device.json",
        "private.key",
    ]
