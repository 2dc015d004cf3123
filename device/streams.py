"""Standard streams whose errors do not stop a command half-way."""

import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO


def open_all() -> None:
    """Open those of stdin, stdout and stderr that are closed, on the null device.

    Otherwise the next file that is opened would get the descriptor, and the output would go there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        Path(os.devnull).open(mode, encoding="utf-8") if stream is None else stream  # noqa: SIM115  # stays open
        for stream, mode in ((sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w"))
    )


def unbreakable(stream: TextIO) -> TextIO:
    """Wrap ``stream`` in an ``_Output``, unless it is in memory, as in tests."""
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError):
        return stream
    return _Output(descriptor, stream.encoding)


def reader_is_gone() -> bool:
    """Whether whatever read stdout has closed it, as ``head`` does; for commands that only read."""
    return isinstance(sys.stdout, _Output) and sys.stdout.raw.reader_is_gone


def stdout_is_incomplete() -> bool:
    """Whether output was lost for another reason than that its reader wanted no more."""
    return isinstance(sys.stdout, _Output) and sys.stdout.raw.has_failed


class _Descriptor(io.RawIOBase):
    """A stream to a file descriptor that drops its bytes once they cannot be written.

    ``command | head -1``, or a full disk under its output, must not stop a command half-way.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.reader_is_gone = False
        self.has_failed = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        if not self.reader_is_gone and not self.has_failed:
            try:
                return os.write(self._descriptor, data)
            except BrokenPipeError:
                self.reader_is_gone = True
            except OSError as error:
                self.has_failed = True
                if self._descriptor == 1:
                    print(f"error: cannot write to stdout: {error.strerror}", file=sys.stderr)
        return len(data)


class _Output(io.TextIOWrapper):
    """Text to a descriptor; characters that its encoding lacks are escaped."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self.raw = _Descriptor(descriptor)
        buffered = io.BufferedWriter(self.raw)
        super().__init__(buffered, encoding, errors="backslashreplace", line_buffering=True)
