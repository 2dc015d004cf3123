"""Check that an identity works before anything relies on it."""

import time

from device.delivery import mqtt
from device.delivery.mqtt import Delivery
from device.errors import ConnectionRefused
from device.identity import Identity

ATTEMPTS = 4
"""It may take a moment until every broker knows a newly activated certificate."""

_PAUSE_SECONDS = 3.0


def prove(own: Identity, *, attempts: int = ATTEMPTS) -> Delivery:
    """Connect, publish to the topic that nobody keeps, and return what became of the message.

    Raises:
        ConnectionFailed: No connection; ``ConnectionRefused`` if every attempt was refused.
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
