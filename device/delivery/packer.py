"""Pack readings into messages: a JSON array, gzip, just under a metering unit.

Pure: bytes in, bytes out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import deflate

# A payload of this share of the limit counts as full: searching for the last reading that fits
# would cost more than it saves.
_FULL = 0.985
# What to aim at, so that the payload is neither too long nor not full yet.
_AIM = (1 + _FULL) / 2
_MOST_TRIES = 8
# libdeflate's level 7 makes 4 % fewer messages than zlib's level 9, in 40 % of its time.
_LEVEL = 7


@dataclass(frozen=True, slots=True)
class Packed:
    """The payload of one message, and how many readings are in it."""

    payload: bytes
    readings: int


class Packer:
    """Collects readings, in order, until they fill a message.

    Compressing again for every reading would take a time that grows with the square of their
    number. Instead, the compression ratio of the message before tells when to compress, and a
    search of a few steps finds how many readings fit.

    Args:
        limit_bytes: The longest payload to make. A reading that alone is longer becomes a message
            of its own; the caller checks that the broker accepts it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._readings: list[bytes] = []
        self._bytes = 0
        self._ratio = 0.5  # of the payload to the readings; a guess before the first message
        self._try_at = limit_bytes / self._ratio

    def __len__(self) -> int:
        """How many readings wait for a message."""
        return len(self._readings)

    @property
    def size_bytes(self) -> int:
        """How long the readings are that wait for a message."""
        return self._bytes

    def copy(self) -> "Packer":
        """Return a packer that holds the same and goes on independently."""
        other = Packer(self._limit)
        other._readings = self._readings.copy()
        other._bytes, other._ratio, other._try_at = self._bytes, self._ratio, self._try_at
        return other

    def restore(self, reading: bytes) -> None:
        """Add a reading that an earlier run left, without looking for a full message."""
        self._readings.append(reading)
        self._bytes += len(reading) + 1

    def add(self, reading: bytes) -> Iterator[Packed]:
        """Add a reading, one JSON object; yield every message that is full now."""
        self.restore(reading)
        while self._bytes >= self._try_at:
            packed = self._first(final=False)
            if packed is None:
                break
            yield packed

    def rest(self) -> Iterator[Packed]:
        """Yield messages, the last one not full, with all readings that wait."""
        while self._readings:
            packed = self._first(final=True)
            assert packed is not None  # noqa: S101  # there is one while a reading waits
            yield packed

    def _first(self, *, final: bool) -> Packed | None:
        """Return the fullest message that starts with the first reading; None if it is not full."""
        waiting = len(self._readings)
        sizes = [0, *accumulate(len(reading) + 1 for reading in self._readings)]
        best = Packed(b"", 0)
        too_many = waiting + 1
        count = waiting
        for _ in range(_MOST_TRIES):
            payload = pack(self._readings[:count])
            self._ratio = len(payload) / sizes[count]
            if len(payload) <= self._limit:
                best = Packed(payload, count)
                if count == waiting or len(payload) >= _FULL * self._limit:
                    break
            else:
                too_many = count
            if too_many - best.readings <= 1:
                break
            wanted = self._limit * _AIM / self._ratio
            guess = next((n for n, size in enumerate(sizes) if size > wanted), waiting + 1) - 1
            count = min(max(guess, best.readings + 1), too_many - 1)
        if best.readings == waiting and not final and len(best.payload) < _FULL * self._limit:
            self._try_at = self._limit * _AIM / self._ratio
            return None
        if best.readings == 0:
            best = Packed(pack(self._readings[:1]), 1)
        del self._readings[: best.readings]
        self._bytes -= sizes[best.readings]
        self._try_at = self._limit * _AIM / self._ratio
        return best


def pack(readings: list[bytes]) -> bytes:
    """Return the payload with ``readings``, JSON objects. The same readings give the same bytes."""
    array = b"[" + b",".join(readings) + b"]"
    zipped = bytes(deflate.gzip_compress(array, _LEVEL))
    # The shortest form, so that a reading within the broker's limit stays within it.
    return min(zipped, readings[0] if len(readings) == 1 else array, key=len)
