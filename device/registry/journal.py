"""A file in the identity's folder with the progress of a command, for its next run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from device import files
from device.errors import IdentityError

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> T | None:
    """Return what ``write`` wrote to ``path``; None if the file does not exist.

    Raises:
        IdentityError: The file is not a journal of this ``kind``.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise IdentityError(f"expected a journal of {path.stem}, got {path}: {error}") from None


def write(path: Path, entry: Any) -> None:
    """Save the dataclass ``entry``, so that ``read`` returns it even after a crash."""
    files.write_private(path, msgspec.json.format(msgspec.json.encode(asdict(entry))) + b"\n")
