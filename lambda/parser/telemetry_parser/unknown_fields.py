"""Find names that devices send and the contract lacks, at a bounded cost.

One message in 64 is examined, the first one included, up to 1,000 messages, and at most 32 readings
of each. This takes about 1 % of the parser's time. The names come from devices, so only a few plain
ones are passed on.
"""

import re

import msgspec

from contracts import Contract
from contracts.reading import unknown_names

ONE_IN = 64
_MOST_MESSAGES = 1_000
_MOST_READINGS = 32
_MOST_PAYLOAD_BYTES = 256 * 1024
_MOST_NAMES = 20
_MOST_UNNAMED = 1_000
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class UnknownFields:
    """Collects names outside ``contract``, those in nested objects as ``outer.inner``."""

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        self._messages = 0
        self._names: set[str] = set()
        self._unnamed: set[str] = set()

    @property
    def named(self) -> tuple[str, ...]:
        """At most 20 names, each of at most 64 letters, digits, ``_``, ``.`` and ``-``; sorted."""
        return tuple(sorted(self._names))

    @property
    def unnamed(self) -> int:
        """How many more there were, up to 1,000."""
        return len(self._unnamed)

    def sample(self, payload: bytes) -> None:
        """Examine the payload of one message in ``ONE_IN``."""
        if self._messages == _MOST_MESSAGES or len(payload) > _MOST_PAYLOAD_BYTES:
            return
        self._messages += 1
        try:
            content = msgspec.json.decode(payload)
        except (ValueError, RecursionError):  # one of its readings was rejected for it
            return
        for reading in content[:_MOST_READINGS] if isinstance(content, list) else (content,):
            for name in unknown_names(self._schema, reading):
                self._note(name)

    def _note(self, name: str) -> None:
        if name in self._names:
            return
        if len(self._names) < _MOST_NAMES and _PLAIN.fullmatch(name):
            self._names.add(name)
        elif len(self._unnamed) < _MOST_UNNAMED:
            self._unnamed.add(name)
