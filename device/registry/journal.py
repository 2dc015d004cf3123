"""A file in the identity's folder with the progress of a command, for its next run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from device import files
from device.errors import IdentityError


class JournalFile:
    """Base of a dataclass that is the content of a journal.

    Attributes:
        FILE: Name of the file. It exists while the command's work is unfinished.
    """

    FILE: ClassVar[str]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the journal in ``folder``, or None if nothing is unfinished there.

        Raises:
            IdentityError: The file is not what ``write`` writes.
        """
        path = folder / cls.FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise IdentityError(f"expected a journal of {path.stem}, got {path}: {error}") from None

    def write(self, folder: Path) -> Self:
        """Save this on disk, so that ``read`` returns it even after a crash."""
        content: Any = self
        text = msgspec.json.format(msgspec.json.encode(asdict(content)))
        files.write_private(folder / self.FILE, text + b"\n")
        return self
