"""Open files of readings from any program: decompressed, and in UTF-8 without a byte order mark.

Everything streams: a file of any length takes the memory of one block, and a pipe is read as far as
its writer has written.
"""

import bz2
import codecs
import gzip
import importlib
import io
import lzma
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO

_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9]1AY"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
_LONGEST_MAGIC = 7


class DamagedFileError(ValueError):
    """The file cannot be read any further: it is cut short, or its bytes are not what they claim.

    Raised by the streams of ``opened``, while they are read.
    """


class UnsupportedFileError(ValueError):
    """This Python cannot decompress the file; the message says which compressions it can."""


def file_type(name: str) -> str:
    """Return a file's suffix in lower case, without that of a compression: ``csv``."""
    path = PurePath(name)
    if path.suffix.lower() in _SUFFIXES:
        path = path.with_suffix("")
    return path.suffix.lower().removeprefix(".")


def opened(file: BinaryIO, name: str, *, verbatim: bool) -> BinaryIO:
    """Return the text of ``file`` as a stream of UTF-8, which raises ``DamagedFileError`` only.

    Args:
        file: Open for reading; the caller closes it.
        name: The file's name.
        verbatim: Decompress only what has the suffix of a compression, and change nothing else.
            Otherwise the first bytes decide, of the compression and of the encoding: UTF-8, or
            UTF-16 with or without a byte order mark.

    Raises:
        UnsupportedFileError: The file is compressed in a way that this Python does not know.
    """
    stream = _stream(file)
    if verbatim:
        compression = _SUFFIXES.get(PurePath(name).suffix.lower())
    else:
        head = _first_bytes(stream)
        compression = next((kind for kind, magic in _MAGIC.items() if magic.match(head)), None)
    if compression is not None:
        stream = _stream(_opener(compression)(stream))
    return stream if verbatim else _in_utf8(stream)


def _opener(compression: str) -> Callable[[BinaryIO], Any]:
    known: dict[str, Callable[[BinaryIO], Any]]
    known = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    if compression in known:
        return known[compression]
    try:
        # In the standard library from Python 3.14 on.
        return importlib.import_module("compression.zstd").open  # type: ignore[no-any-return]  # found at run time
    except ImportError:
        raise UnsupportedFileError(
            "expected a file that is plain or compressed with gzip, bzip2 or xz; "
            "got zstd, which needs Python 3.14"
        ) from None


class _FunctionStream(io.RawIOBase):
    """A stream made of a function that returns the next bytes, at most so many; b"" at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _stream(file: Any) -> io.BufferedReader:
    """Return a stream of ``file`` whose first block is long enough to tell the format."""
    begun = False

    def read(size: int) -> bytes:
        nonlocal begun
        try:
            data = bytes(file.read1(size))
            while not begun and data and len(data) < _LONGEST_MAGIC and not data.endswith(b"\n"):
                more = file.read1(_LONGEST_MAGIC - len(data))
                if not more:
                    break
                data += more
        except DamagedFileError:
            raise
        except Exception as error:  # each library of a compression has errors of its own
            reason = str(error) or type(error).__name__
            raise DamagedFileError(f"the file cannot be read any further: {reason}") from None
        begun = True
        return data

    return io.BufferedReader(_FunctionStream(read))


def _first_bytes(stream: io.BufferedReader) -> bytes:
    try:
        return stream.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
    except DamagedFileError:  # reading finds it again
        return b""


def _in_utf8(file: io.BufferedReader) -> BinaryIO:
    head = _first_bytes(file)
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
        return file
    # Without a mark, text in UTF-16 has a zero byte in its first, ASCII, character; UTF-8 has none.
    if head.startswith(codecs.BOM_UTF16_LE) or (head[1:2] == b"\x00" != head[:1]):
        encoding = "utf-16-le"
    elif head.startswith(codecs.BOM_UTF16_BE) or (head[:1] == b"\x00" != head[1:2]):
        encoding = "utf-16-be"
    else:
        return file
    # Half a surrogate pair becomes bytes that are not UTF-8, which the reader of its line finds.
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    rest = b""
    begun = False

    def read(size: int) -> bytes:
        nonlocal rest, begun
        while not rest:
            data = file.read1(size)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError:
                raise DamagedFileError("the file ends in the middle of a character") from None
            if text and not begun:
                begun, text = True, text.removeprefix("\ufeff")
            rest = text.encode("utf-8", "surrogatepass")
            if not data:
                break
        data, rest = rest[:size], rest[size:]
        return data

    return io.BufferedReader(_FunctionStream(read))
