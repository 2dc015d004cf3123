"""An identity, and its connection over a client of the SDK that does as it is told."""

from collections.abc import Callable
from pathlib import Path

import pytest
from awsiot import mqtt5_client_builder

from device.delivery import pacer
from device.delivery.mqtt import Connection
from device.identity import DeviceConfig, Identity
from tests.unit.device.delivery.mqtt.sdk import Connect, Sdk


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    device = DeviceConfig(
        environment="dev",
        thing_name="sensor-1",
        endpoint="broker.example",
        port=8884,
        certificate_id="c0ffee",
        certificate_arn="arn:aws:iot:eu-central-1:123456789012:cert/c0ffee",
    )
    return Identity(tmp_path, device)


@pytest.fixture
def connect(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> Connect:
    def connected(on_start: Callable[[Sdk], None] = Sdk.succeed) -> tuple[Connection, Sdk]:
        sdk = Sdk(on_start)
        monkeypatch.setattr(pacer, "_SECONDS_PER_MESSAGE", 0.0)
        monkeypatch.setattr(mqtt5_client_builder, "mtls_from_path", sdk.build)
        connection = Connection(identity)
        connection.connect()
        return connection, sdk

    return connected
