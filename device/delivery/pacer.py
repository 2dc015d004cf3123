"""Sends messages no faster than AWS IoT Core accepts them on one connection.

The SDK could do this too, but it counts every message as a multiple of 4 KB: packed messages of
5 KB would go out at 60 % of what AWS allows.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

# 100 publishes and 512 KB per second, on each connection. What exceeds the first is discarded.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_SECONDS_PER_MESSAGE = 1 / 98  # with the head start below, at most 100 in any second
_SECONDS_PER_BYTE = 1 / (512 * 1024)
# How far a message may be ahead of its time, so that a late wake-up costs nothing.
_HEAD_START_SECONDS = 0.02


class Pacer:
    """Calls functions that send a message, each at once or as soon as its turn has come.

    Messages that have to wait are sent by a thread, which exists while there are any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of everything below
        self._waiting = deque[tuple[int, Callable[[], None]]]()
        self._free_at = 0.0  # the connection is used up to then
        self._is_sending = False

    def send(self, size_bytes: int, send: Callable[[], None]) -> None:
        """Call ``send``, which sends a message of ``size_bytes``, when its turn has come."""
        with self._lock:
            if self._is_sending or self._seconds_to_next() > 0:
                self._waiting.append((size_bytes, send))
                if not self._is_sending:
                    self._is_sending = True
                    threading.Thread(target=self._send_waiting, daemon=True).start()
                return
            self._take(size_bytes)
        send()

    def hold(self, messages: int) -> None:
        """Leave room for messages that are sent without this pacer."""
        with self._lock:
            for _ in range(messages):
                self._take(0)

    def _send_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_sending = False
                    return
                seconds = self._seconds_to_next()
                if seconds <= 0:
                    size_bytes, send = self._waiting.popleft()
                    self._take(size_bytes)
            if seconds > 0:
                time.sleep(seconds)
            else:
                send()

    def _seconds_to_next(self) -> float:
        return self._free_at - time.monotonic() - _HEAD_START_SECONDS

    def _take(self, size_bytes: int) -> None:
        seconds = max(_SECONDS_PER_MESSAGE, size_bytes * _SECONDS_PER_BYTE)
        self._free_at = max(self._free_at, time.monotonic()) + seconds
