"""The records that wait for delivery, on disk.

The emulator appends to a buffer; Firehose's stand-in closes it and delivers the batch. A batch is
a file whose name decides the name of its object, so that delivering it again changes nothing.
"""

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Self

_MOMENT = "%Y-%m-%d-%H-%M-%S"


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that are delivered as one object.

    Attributes:
        path: Its file; delete it after delivery.
        oldest: Arrival of the oldest record, UTC.
        name: End of the object's name: when the batch was closed, and a UUID.
        records: Without separator, in order of arrival.
    """

    path: Path
    oldest: datetime
    name: str
    records: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a closed batch."""
        # Only this line break divides records. A last line without it was never acknowledged.
        arrived, *records, _ = path.read_bytes().decode().split("\n")
        oldest = datetime.fromtimestamp(int(arrived) / 1000, UTC)
        return cls(path, oldest, path.stem.partition(".")[2], tuple(records))


@dataclass(frozen=True, slots=True)
class Buffer:
    """The open buffer and the closed batches of one topic rule.

    A file has the time of arrival of its oldest record, in ms since 1970, then one record per line.

    Attributes:
        folder: Where the files are.
        rule_name: Name of the topic rule; the files' names begin with it.
        clock: Seconds since 1970.
    """

    folder: Path
    rule_name: str
    clock: Callable[[], float] = time.time

    def append(self, record: str) -> None:
        """Write one record; it survives this process.

        Raises:
            OSError: It could not be written, and is not in the buffer.
        """
        with self._locked(), self._open.open("a+b", buffering=0) as file:
            size = _whole_lines(file)
            header = "" if size else f"{int(self.clock() * 1000)}\n"
            line = f"{header}{record}\n".encode()
            if file.write(line) != len(line):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._open))

    def is_due(self, interval_seconds: float, size_bytes: int) -> bool:
        """Whether the open buffer has reached one of the stream's buffering hints."""
        try:
            with self._open.open("rb") as file:
                header = file.readline()
                size = file.seek(0, os.SEEK_END) - len(header)
        except FileNotFoundError:
            return False
        return bool(header) and (
            self.clock() - int(header) / 1000 >= interval_seconds or size >= size_bytes
        )

    def is_empty(self) -> bool:
        """Whether there is nothing to deliver."""
        return not self._open.exists() and not self._closed()

    def close(self) -> None:
        """Turn the open buffer into a batch."""
        moment = datetime.fromtimestamp(self.clock(), UTC).strftime(_MOMENT)
        with self._locked():
            self._open.rename(self.folder / f"{self.rule_name}.{moment}-{uuid.uuid4()}.batch")

    def batches(self) -> Iterator[Batch]:
        """The closed batches, oldest first."""
        return map(Batch.read, self._closed())

    @property
    def _open(self) -> Path:
        return self.folder / f"{self.rule_name}.open"

    def _closed(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.rule_name}.*.batch"))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Prevent the emulator and the stand-in from using the open buffer at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{self.rule_name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _whole_lines(file: FileIO) -> int:
    """Remove a line that a killed process left incomplete; return the size of the rest."""
    size = file.seek(0, os.SEEK_END)
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
        size = os.pread(file.fileno(), size, 0).rfind(b"\n") + 1
        file.truncate(size)
    return size
