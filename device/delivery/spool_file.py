"""The file of a spool: its schema, who may read it, and what its errors mean."""

import contextlib
import os
import resource
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from device.errors import SpoolError, SpoolFull, SpoolInUse

_APPLICATION_ID = 0x5350_4F4C  # "SPOL"; https://www.sqlite.org/pragma.html#pragma_application_id
# Version 2 has one more column, which is not used any more.
_NEWEST_VERSION = 2

# AUTOINCREMENT: an id is never used again, so ids are the order of all messages there ever were.
SCHEMA = (
    "CREATE TABLE readings ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, content BLOB NOT NULL)",
    "CREATE TABLE messages ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL,"
    " readings INTEGER NOT NULL, refused_at REAL)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    "PRAGMA user_version = 1",
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a spool, counted in readings.

    Attributes:
        waiting: All readings.
        refused: The readings that the broker has refused.
    """

    waiting: int
    refused: int


def contents_of(path: Path) -> Contents:
    """Return what is in the spool at ``path``, without changing it.

    Raises:
        SpoolInUse: A process has it open.
        SpoolError: It is not there, not a spool, or of a newer version.
    """
    with explained(str(path)):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=0)
        try:
            return Contents(0, 0) if is_new(database, str(path)) else count(database)
        finally:
            database.close()


def is_new(database: sqlite3.Connection, name: str) -> bool:
    """Return whether a database has no tables yet.

    Raises:
        SpoolError: It has, and they are not those of a spool that this code can read.
    """
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != _APPLICATION_ID and (application_id or tables):
        raise SpoolError(
            f"expected a spool, got another kind of database in {name}; "
            "move it away and run this again"
        )
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > _NEWEST_VERSION:
        raise SpoolError(
            f"expected a spool of version {_NEWEST_VERSION} at most, got {version} in {name}: a "
            "newer release of this program has made it; use that one, or move the file away"
        )
    return not tables


def count(database: sqlite3.Connection) -> Contents:
    """Count what is in the database of a spool."""
    row = database.execute(
        "SELECT coalesce(sum(readings), 0) + (SELECT count(*) FROM readings),"
        " coalesce(sum(readings) FILTER (WHERE refused_at NOTNULL), 0) FROM messages"
    ).fetchone()
    return Contents(*row)


def is_empty(database: sqlite3.Connection) -> bool:
    """Return whether nothing is in the database of a spool."""
    (found,) = database.execute(
        "SELECT NOT EXISTS (SELECT 1 FROM messages) AND NOT EXISTS (SELECT 1 FROM readings)"
    ).fetchone()
    return bool(found)


def size_bytes(path: Path | None) -> int:
    """Return how long a file is; 0 if there is none."""
    try:
        return 0 if path is None else path.stat().st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise errors of SQLite and of the file system as a ``SpoolError`` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith("SQLITE_BUSY"):
            raise SpoolInUse(
                f"the spool {name} is in use by another process of the same device; "
                "run this when it has ended"
            ) from None
        if code == "SQLITE_FULL":
            raise SpoolFull(
                f"no room for the spool {name}: the disk or the spool's own limit is full"
            ) from None
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")):
            raise SpoolError(f"cannot use the spool {name}: {error}") from None
        raise SpoolError(
            f"expected a spool, got a damaged or different file in {name} ({error}); "
            "nothing was deleted: move it away, with the files beside it, and run this again"
        ) from None
    except OSError as error:
        raise SpoolError(f"cannot use the spool {name}: {error.strerror}") from None


def most_bytes() -> int:
    """Return how large this process may make a file (``ulimit -f``)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def make_private(path: Path) -> None:
    """Make the file, mode 0600; SQLite gives the files beside it the same mode."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    # The file's name must be on disk before the first reading is in it.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
