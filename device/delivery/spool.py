"""The spool: readings and messages on disk, until the broker has acknowledged them.

An SQLite database in WAL mode with ``synchronous=FULL``: what a transaction has committed survives
``kill -9`` and, if the disk keeps what it was told to, a power failure. A message is stored with
its exact topic and payload, so that whenever it is sent again, it is the same to the byte.

See https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from device.errors import SpoolError, SpoolFull, SpoolInUse

MIN_BYTES = 64 * 1024

# 2026-01-01 UTC. A device without a battery for its clock starts long before, and jumps to the
# present as soon as it has a network.
_CLOCK_IS_SET = 1_767_225_600

_APPLICATION_ID = 0x5350_4F4C  # "SPOL"; https://www.sqlite.org/pragma.html#pragma_application_id
# Version 2 has one more column, which is not used any more.
_NEWEST_VERSION = 2

# AUTOINCREMENT: an id is never used again, so ids are the order of all messages there ever were.
_SCHEMA = (
    "CREATE TABLE readings ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, content BLOB NOT NULL)",
    "CREATE TABLE messages ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL,"
    " readings INTEGER NOT NULL, refused_at REAL)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    "PRAGMA user_version = 1",
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is sent, every time."""

    id: int
    topic: str
    payload: bytes
    readings: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a spool, counted in readings.

    Attributes:
        waiting: To be sent.
        refused: Of these, the ones that the broker has refused.
    """

    waiting: int
    refused: int


class Spool:
    """The database. One process, and in it one thread at a time.

    Args:
        path: Of the file, made if it is not there, for its owner alone; its folder exists.
            None: in memory, for what need not outlive the process.
        max_bytes: How large it may grow.

    Raises:
        SpoolError: It is damaged, not a spool, of a newer version, or in use. It is left as it is.
    """

    def __init__(self, path: Path | None, *, max_bytes: int) -> None:
        self._name = str(path) if path is not None else "memory"
        self._max_bytes = max(max_bytes, MIN_BYTES)
        with self._explained():
            if path is not None:
                _make_private(path)
            self._database = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False, timeout=0
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        database = self._database
        # One process at a time: the lock is held from the first statement to the end.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        is_new = _is_new(database, self._name)
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        database.execute("PRAGMA journal_mode = WAL")
        # The lock is taken now, not with the first reading.
        database.execute("BEGIN EXCLUSIVE")
        for statement in _SCHEMA if is_new else ():
            database.execute(statement)
        database.execute("COMMIT")
        self._page_bytes = self._pragma("page_size")

    def close(self) -> None:
        """Release the file."""
        with self._explained():
            self._database.close()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Make what is done inside one step, which is on disk when this ends.

        Args:
            durable: Otherwise it outlives the process, but a power failure may undo it.

        Raises:
            SpoolFull: The disk is full; nothing of it was done.
            SpoolError: The file cannot be written; nothing of it was done.
        """
        with self._explained():
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._database.execute("BEGIN")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @property
    def room_bytes(self) -> int:
        """How many more bytes it may take."""
        pages = self._pragma("page_count") - self._pragma("freelist_count")
        return self._max_bytes - pages * self._page_bytes

    def add_reading(self, topic: str, content: bytes) -> None:
        """Add a reading that waits for others to share its message."""
        self._database.execute(
            "INSERT INTO readings (topic, content) VALUES (?, ?)", (topic, content)
        )

    def readings(self) -> Iterator[tuple[str, bytes]]:
        """Topic and content of the readings that wait, oldest first."""
        yield from self._database.execute("SELECT topic, content FROM readings ORDER BY id")

    def count(self) -> Contents:
        """How many readings are here, in messages or not."""
        return _count(self._database)

    def remove_readings(self) -> None:
        """Remove every reading that waits: they are in messages now."""
        self._database.execute("DELETE FROM readings")

    def add_message(self, topic: str, payload: bytes, readings: int) -> None:
        """Add a message, to be sent after all others."""
        self._database.execute(
            "INSERT INTO messages (topic, payload, readings) VALUES (?, ?, ?)",
            (topic, payload, readings),
        )

    def messages(self, after: int, limit: int) -> list[Message]:
        """The oldest messages whose id is greater than ``after``, in order."""
        rows = self._database.execute(
            "SELECT id, topic, payload, readings FROM messages WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        return [Message(*row) for row in rows]

    def newest(self, but: Collection[int]) -> Message | None:
        """The newest message whose id is not in ``but``; None: there is none."""
        row = self._database.execute(
            "SELECT id, topic, payload, readings FROM messages"
            f" WHERE id NOT IN ({_listed(but)}) ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return None if row is None else Message(*row)

    def remove_message(self, message_id: int) -> None:
        """Remove a message: the broker has it."""
        self._database.execute("DELETE FROM messages WHERE id = ?", (message_id,))

    def note_refusal(self, message_id: int, now: float) -> None:
        """Keep when the broker refused a message for the first time.

        A time before this program was written is that of a clock that had not been set yet, and
        gives way to the next.
        """
        self._database.execute(
            "UPDATE messages SET refused_at = ?"
            f" WHERE id = ? AND (refused_at IS NULL OR refused_at < {_CLOCK_IS_SET})",
            (now, message_id),
        )

    def remove_refused(self, before: float) -> int:
        """Remove messages first refused before that time; return how many readings were in them."""
        rows = self._database.execute(
            f"DELETE FROM messages WHERE refused_at < ? AND refused_at >= {_CLOCK_IS_SET}"
            " RETURNING readings",
            (before,),
        )
        return sum(readings for (readings,) in rows)

    def remove_oldest(self, but: Collection[int]) -> tuple[int, int] | None:
        """Remove the oldest message that is to be sent and whose id is not in ``but``.

        Returns:
            Its id, and how many readings were in it; None: there is none.
        """
        row: tuple[int, int] | None = self._database.execute(
            "DELETE FROM messages WHERE id = (SELECT min(id) FROM messages"
            f" WHERE id NOT IN ({_listed(but)})) RETURNING id, readings"
        ).fetchone()
        return row

    def _pragma(self, name: str) -> int:
        (value,) = self._database.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return _explained(self._name)


def look(path: Path) -> Contents:
    """Tell what is in the spool at ``path``, and leave it as it is.

    Raises:
        SpoolInUse: A process has it open.
        SpoolError: It is not there, not a spool, or of a newer version.
    """
    with _explained(str(path)):
        uri = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=0)
        try:
            return Contents(0, 0) if _is_new(database, str(path)) else _count(database)
        finally:
            database.close()


def _is_new(database: sqlite3.Connection, name: str) -> bool:
    """Whether it has no tables yet; if it has, they are those of a spool that this code reads."""
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


def _count(database: sqlite3.Connection) -> Contents:
    row = database.execute(
        "SELECT coalesce(sum(readings), 0) + (SELECT count(*) FROM readings),"
        " coalesce(sum(readings) FILTER (WHERE refused_at NOTNULL), 0) FROM messages"
    ).fetchone()
    return Contents(*row)


def _listed(ids: Collection[int]) -> str:
    return ",".join(map(str, ids))


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
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
            raise SpoolFull(f"no room on the disk for the spool {name}") from None
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")):
            raise SpoolError(f"cannot use the spool {name}: {error}") from None
        raise SpoolError(
            f"expected a spool, got a damaged or different file in {name} ({error}); "
            "nothing was deleted: move it away, with the files beside it, and run this again"
        ) from None
    except OSError as error:
        raise SpoolError(f"cannot use the spool {name}: {error.strerror}") from None


def _make_private(path: Path) -> None:
    """Make the file, mode 0600; SQLite gives the files beside it the same mode."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    # Before the first reading is in it: the file's name is on disk.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
