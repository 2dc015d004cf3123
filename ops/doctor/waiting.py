"""Wait for something to happen."""

import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.5


def in_time(happened: Callable[[], bool], seconds: float) -> bool:
    """Whether it happened within ``seconds``; returns as soon as it did."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
