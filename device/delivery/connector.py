"""The connector connects a device, and reconnects it until the broker refuses the device."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from device.delivery.mqtt import PublishResult
from device.errors import ConnectionDropped, ConnectionFailed, DeviceError, Unreachable

# The pause between attempts to connect is random, up to a limit that doubles each time, so that a
# fleet that lost its broker does not come back all at once.
# https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0

# If the broker ends the connection this often in a row without a reason, it refuses the device. The
# limit is higher for a device that was connected: several messages, or a fault of the broker, may
# be the cause.
_MOST_DROPS = 3
_MOST_DROPS_OVER_MESSAGES = 12

_POLL_SECONDS = 0.2


class BrokerConnection(Protocol):
    """What this package needs of ``device.delivery.mqtt.Connection``."""

    @property
    def failure(self) -> ConnectionFailed | None:
        """Why the connection is lost for good, or None."""

    def connect(self) -> None:
        """Connect."""

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        """Send one message."""

    def close(self) -> None:
        """Disconnect, which completes every pending message."""


class Connector:
    """Keeps a device connected while ``run`` runs, in a thread of its own.

    Args:
        connect: Makes a connection that is not connected yet.
        acknowledged: Returns how many messages were acknowledged so far.
        changed: Called after each change of an attribute.

    Attributes:
        connection: The connection, or None while there is none.
        was_connected: Whether it has been connected at all.
        last_error: Why there is no connection at the moment; more attempts follow.
        failure: Why there will be no more attempts, or None.
    """

    def __init__(
        self,
        connect: Callable[[], BrokerConnection],
        *,
        acknowledged: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._acknowledged = acknowledged
        self._changed = changed
        self._stop = threading.Event()
        self.connection: BrokerConnection | None = None
        self.was_connected = False
        self.last_error: ConnectionFailed | None = None
        self.failure: DeviceError | None = None

    def stop(self) -> None:
        """Disconnect and let ``run`` end."""
        self._stop.set()

    def run(self) -> None:
        """Stay connected until ``stop`` is called or another attempt would not help."""
        backoff = _FIRST_BACKOFF_SECONDS
        drops = 0
        while not self._stop.is_set():
            acknowledged = self._acknowledged()
            most_drops, error = self._connect_once()
            if self._acknowledged() > acknowledged:
                backoff, drops = _FIRST_BACKOFF_SECONDS, 0
            drops = drops + 1 if isinstance(error, ConnectionDropped) else 0
            if error is None:
                continue
            if isinstance(error, Unreachable | ConnectionDropped) and drops < most_drops:
                self.last_error = error
                self._changed()
            else:
                self.failure = error
                self._changed()
                return
            self._stop.wait(random.uniform(0, backoff))  # noqa: S311  # to spread, not to hide
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    def _connect_once(self) -> tuple[int, DeviceError | None]:
        """Connect and stay connected; return what ended it, and how often that may happen."""
        connection = self._connect()
        try:
            connection.connect()
        except DeviceError as error:
            # A broker that took the identity before is more likely to be in trouble itself.
            return _MOST_DROPS_OVER_MESSAGES if self.was_connected else _MOST_DROPS, error
        self.connection, self.was_connected, self.last_error = connection, True, None
        self._changed()
        while connection.failure is None and not self._stop.is_set():
            self._stop.wait(_POLL_SECONDS)
        self.connection = None
        self._changed()
        connection.close()
        return _MOST_DROPS_OVER_MESSAGES, connection.failure
