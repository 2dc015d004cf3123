"""Test that an identity works before it is used."""

import time

from device.delivery import mqtt
from device.delivery.mqtt import PublishResult
from device.errors import ConnectionRefused
from device.identity import Identity

ATTEMPTS = 4
"""It may take a moment until every broker knows a certificate that was just activated."""

_PAUSE_SECONDS = 3.0


def prove(own: Identity, *, attempts: int = ATTEMPTS) -> PublishResult:
    """Connect, publish a message to the proof topic, and return what became of it.

    Raises:
        ConnectionFailed: There is no connection. ``ConnectionRefused`` follows the last attempt.
    """
    for attempt in range(1, attempts + 1):
        try:
            with mqtt.Connection(own) as connection:
                return connection.publish(own.device.proof_topic, b"").result()
        except ConnectionRefused:
            if attempt == attempts:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError("attempts is at least 1")
