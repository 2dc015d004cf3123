"""How far an interrupted command has come, in a file of the identity's folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from device import files
from device.errors import IdentityError

T = TypeVar("T")


def read(path: Path, kind: type[T]) -> T | None:
    """Return what ``write`` wrote to ``path``; None if nothing is unfinished there.

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
    """Write the dataclass ``entry`` to ``path``; ``read`` returns it after any interruption."""
    files.write_private(path, msgspec.json.format(msgspec.json.encode(asdict(entry))) + b"\n")
