"""AWS IoT as devices see it that register by claim."""

import os

import pytest

from device.delivery import mqtt
from device.registry import proof
from tests.unit.device.fakes import Steps
from tests.unit.device.registry.fleet_broker import Broker


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker(Steps())
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        made.steps.tick()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(mqtt, "Connection", made.connect)
    monkeypatch.setattr(proof, "_PAUSE_SECONDS", 0)
    return made
