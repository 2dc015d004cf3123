"""Write files that only their owner may read, atomically, and in one run at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device.errors import ExitStatus, IdentityError


@contextmanager
def working_in(folder: Path, root: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing, and lock it against a second run.

    The lock ends with the process. A folder that is empty afterwards is removed.

    Raises:
        IdentityError: Another run has the lock, or a file operation inside the context fails.
    """
    with _explained(folder):
        make_folder(folder, root)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _lock(descriptor, folder)
            yield
        finally:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                folder.rmdir()


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise IdentityError(
            f"another device command is at work in {folder}",
            ExitStatus.CONFLICT,
            remedy="run this again when it has ended",
        ) from None


def make_folder(folder: Path, root: Path) -> None:
    """Make ``folder`` and its parents below ``root``, open to their owner only (0700)."""
    for parent in reversed([folder, *folder.parents]):
        if parent.is_relative_to(root) and parent != root:
            parent.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def write_private(path: Path, content: bytes) -> None:
    """Replace ``path`` atomically, with mode 0600.

    The data is on disk when this returns, because the caller's next step may be irrevocable.

    Raises:
        IdentityError: The disk is full, or the folder is read-only. The old file is unharmed.
    """
    temporary = path.with_name(f".{path.name}.new")
    # Always create a new file: an existing one could be a link to anywhere.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with _explained(path):
        temporary.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def link(path: Path, target: Path) -> None:
    """Replace ``path`` by a symbolic link, atomically."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
    _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove ``path`` if it exists; the removal is on disk when this returns."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        _sync_folder(path.parent)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError into an error that names its file, or ``path`` if it has none."""
    try:
        yield
    except OSError as error:
        raise IdentityError(
            f"cannot use {error.filename or path}: {error.strerror or error}",
            ExitStatus.FILE,
            remedy="check its permissions and the free space, then run this again",
        ) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
