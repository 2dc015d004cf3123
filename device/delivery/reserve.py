"""A file that holds disk room, so that a spool on a full disk can still be emptied."""

import contextlib
import os
from pathlib import Path

_MAX_BYTES = 1024 * 1024
_MIN_BYTES = 64 * 1024
# Of the spool's limit, and of what is free on the disk when the reserve is made.
_SHARE = 4


def reserve_bytes(spool_bytes: int) -> int:
    """Return how large the reserve of a spool with this limit is, on a disk with enough room."""
    return min(_MAX_BYTES, spool_bytes // _SHARE)


class Reserve:
    """Bytes that the disk keeps for the spool.

    SQLite needs room even to delete: it first writes the changed pages to its WAL. The spool
    releases the reserve to do that, empties the WAL into the database, and takes the room back.

    Args:
        path: Of the file, made with mode 0600; None for a spool in memory, which needs none.
        max_bytes: Size of the file. It is smaller if the disk has little room.
    """

    def __init__(self, path: Path | None, *, max_bytes: int) -> None:
        self._path = path
        self.size_bytes = max_bytes
        if path is not None:
            held = path.stat().st_size if path.exists() else 0
            disk = os.statvfs(path.parent)
            free = held + disk.f_bavail * disk.f_frsize
            if held < self.size_bytes:
                self.size_bytes = max(held, _MIN_BYTES, min(self.size_bytes, free // _SHARE))
            self.take()

    def take(self) -> None:
        """Take the room, unless it is taken already or the disk has none."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                _allocate(descriptor, self.size_bytes)
            finally:
                os.close(descriptor)

    def release(self) -> None:
        """Give the room back to the disk."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)


def _allocate(descriptor: int, size: int) -> None:
    """Make a file as long as ``size``, with real blocks behind it."""
    if os.fstat(descriptor).st_size >= size:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError):  # not every system and file system has it
        os.pwrite(descriptor, bytes(size), 0)
