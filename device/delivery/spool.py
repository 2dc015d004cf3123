"""The spool: readings and messages on disk, until the broker has acknowledged them.

An SQLite database in WAL mode with ``synchronous=FULL``: what a transaction has committed survives
``kill -9`` and, if the disk keeps what it was told to, a power failure. A message is stored with
its exact topic and payload, so that every time it is sent, it is the same to the byte.

A full disk does not stop it from being emptied. Every transaction fits into a reserve of disk
space (``device.delivery.reserve``), and so does everything in the WAL. When there is no other room
left, the spool uses the reserve, and keeps the database from growing meanwhile.

See https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from device.delivery import spool_file
from device.delivery.reserve import Reserve, reserve_bytes
from device.delivery.spool_file import Contents
from device.errors import SpoolFull

MIN_BYTES = 256 * 1024

# 2026-01-01 UTC. A timestamp before this means that the device's clock was not set.
_CLOCK_IS_SET = 1_767_225_600

_PAGE_BYTES = 4096
# A transaction changes this many pages beside those that hold its payloads.
_EXTRA_PAGES = 8
# Once an emptied spool has so many free pages, the disk gets them back.
_FREE_PAGES = 256


class SpooledMessage(NamedTuple):
    """A message as it is sent, every time.

    Attributes:
        id: Greater than that of every earlier message.
        topic: Where it is published.
        payload: What is published.
        readings: How many readings are in it.
    """

    id: int
    topic: str
    payload: bytes
    readings: int


@dataclass(frozen=True, slots=True)
class Additions:
    """What one transaction adds to the spool.

    Attributes:
        messages: New messages, with their ids.
        readings: Topic and payload of readings that wait for others to share their message.
        packed: Topics, with how many of the oldest waiting readings are now in messages.
    """

    messages: list[SpooledMessage]
    readings: list[tuple[str, bytes]]
    packed: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """Length of all payloads together."""
        return sum(self._sizes())

    @property
    def longest_bytes(self) -> int:
        """Length of the longest payload."""
        return max(self._sizes(), default=0)

    def _sizes(self) -> Iterator[int]:
        yield from (len(message.payload) for message in self.messages)
        yield from (len(payload) for _, payload in self.readings)


class Spool:
    """The database. One process may have it open, and one thread at a time may use it.

    Args:
        path: The file, in a folder that exists. If it is missing, it is made, readable by its
            owner only. None for a spool in memory, which ends with the process.
        max_bytes: How much disk space database, WAL and reserve may use together, at least
            ``MIN_BYTES``.

    Attributes:
        step_bytes: Length of the payloads that one transaction should add.
        max_payload_bytes: The longest payload that it takes while there is room on the disk.

    Raises:
        SpoolError: It is damaged, not a spool, of a newer version, or in use. It is left as it is.
    """

    def __init__(self, path: Path | None, *, max_bytes: int) -> None:
        self._name = str(path) if path is not None else "memory"
        self._is_durable: bool | None = None  # SQLite's setting; None before the first write
        self._wal = None if path is None else path.with_name(f"{path.name}-wal")
        max_bytes = max(min(max_bytes, spool_file.most_bytes()), MIN_BYTES)
        with self._explained():
            if path is not None:
                spool_file.make_private(path)
            self._database = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False, timeout=0
            )
            try:
                self._prepare()
                reserve = None if path is None else path.with_name(f"{path.name}-reserve")
                self._reserve = Reserve(reserve, max_bytes=reserve_bytes(max_bytes))
            except BaseException:
                self._database.close()
                raise
            # The WAL and the reserve are as large as each other.
            held_bytes = self._reserve.size_bytes
            self._max_pages = (max_bytes - 2 * held_bytes) // _PAGE_BYTES
            self._most_removals = held_bytes // _PAGE_BYTES - _EXTRA_PAGES
            self.step_bytes = held_bytes // 4
            self.max_payload_bytes = reserve_bytes(max_bytes) // 4
            self._set("max_page_count", self._max_pages)
            self._set("wal_autocheckpoint", held_bytes // _PAGE_BYTES // 4)

    def _prepare(self) -> None:
        database = self._database
        # One process at a time: the lock is held from the first statement to the end.
        self._set("locking_mode", "EXCLUSIVE")
        is_new = spool_file.is_new(database, self._name)
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        self._set("page_size", _PAGE_BYTES)
        self._set("journal_mode", "WAL")
        self._set("temp_store", "MEMORY")
        self._set("secure_delete", "OFF")  # overwriting what is deleted would need more room
        # The lock is taken now, not with the first reading.
        database.execute("BEGIN EXCLUSIVE")
        for statement in spool_file.SCHEMA if is_new else ():
            database.execute(statement)
        database.execute("COMMIT")

    def close(self) -> None:
        """Release the file."""
        with self._explained():
            self._database.close()

    @property
    def room_bytes(self) -> int:
        """About how many more bytes of payloads fit within its limit."""
        pages = self._max_pages - self._pragma("page_count") + self._pragma("freelist_count")
        return (pages - _EXTRA_PAGES) * _PAGE_BYTES

    # Reading.

    def count(self) -> Contents:
        """How many readings are here, in messages or not."""
        return spool_file.count(self._database)

    def last_id(self) -> int:
        """The highest message id so far, that of removed messages included."""
        row = self._database.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
        ).fetchone()
        return 0 if row is None else int(row[0])

    def readings(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of the readings that wait, oldest first."""
        yield from self._database.execute("SELECT topic, content FROM readings ORDER BY id")

    def messages(self, after: int, limit: int) -> list[SpooledMessage]:
        """The oldest messages whose id is greater than ``after``, in order."""
        rows = self._database.execute(
            "SELECT id, topic, payload, readings FROM messages WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        return [SpooledMessage(*row) for row in rows]

    def refused(self, before: float | None = None) -> dict[int, int]:
        """Refused messages, all or those first refused before a time: ids to readings."""
        if before is None:
            condition, values = "refused_at NOTNULL", []
        else:
            condition, values = f"refused_at < ? AND refused_at >= {_CLOCK_IS_SET}", [before]
        return dict(
            self._database.execute(
                f"SELECT id, readings FROM messages WHERE {condition} ORDER BY id", values
            )
        )

    def oldest(self, size_bytes: int, *, but: Collection[int]) -> dict[int, int]:
        """The oldest messages whose id is not in ``but``, of ``size_bytes``: ids to readings."""
        found: dict[int, int] = {}
        rows = self._database.execute(
            "SELECT id, readings, length(payload) FROM messages"
            f" WHERE id NOT IN ({','.join(map(str, but))}) ORDER BY id"
        )
        for message_id, readings, length in rows:
            if size_bytes <= 0:
                break
            found[message_id] = readings
            size_bytes -= max(length, 1)
        rows.close()
        return found

    # Writing.

    def add(self, additions: Additions) -> None:
        """Add readings and messages; they are on disk when this returns.

        Raises:
            SpoolFull: There is no room, on the disk or within the limit; nothing was added.
            SpoolError: The file cannot be written; nothing was added.
        """
        if additions.longest_bytes > self.step_bytes:
            raise SpoolFull(f"no room for a payload of {additions.longest_bytes} bytes")
        # SQLite adds some per cent to payloads of this length.
        size_bytes = additions.size_bytes * 9 // 8
        self._write(lambda: self._add(additions), durable=True, size_bytes=size_bytes)

    def remove(self, message_ids: Iterable[int]) -> None:
        """Remove messages. A power failure may undo it, but nothing less.

        Raises:
            SpoolFull: The disk is full, and so was it when the reserve was made.
            SpoolError: The file cannot be written.
        """
        ids = iter(message_ids)
        while some := list(itertools.islice(ids, self._most_removals)):
            self._write(lambda some=some: self._remove(some), size_bytes=len(some) * _PAGE_BYTES)  # type: ignore[misc]  # mypy cannot infer such lambdas
        if self._pragma("freelist_count") > _FREE_PAGES and spool_file.is_empty(self._database):
            with contextlib.suppress(SpoolFull), self._explained(), self._reserve_released():
                self._database.execute("VACUUM")

    def note_refusals(self, message_ids: Collection[int], now: float) -> None:
        """Keep when the broker refused messages for the first time, if there is room for that.

        A time that was noted before the clock was set is replaced.
        """
        with contextlib.suppress(SpoolFull):
            self._write(
                lambda: self._note(message_ids, now), size_bytes=len(message_ids) * _PAGE_BYTES
            )

    def _add(self, additions: Additions) -> None:
        database = self._database
        for topic, count in additions.packed.items():
            database.execute(
                "DELETE FROM readings WHERE id IN"
                " (SELECT id FROM readings WHERE topic = ? ORDER BY id LIMIT ?)",
                (topic, count),
            )
        database.executemany(
            "INSERT INTO messages (id, topic, payload, readings) VALUES (?, ?, ?, ?)",
            additions.messages,
        )
        database.executemany(
            "INSERT INTO readings (topic, content) VALUES (?, ?)", additions.readings
        )

    def _remove(self, message_ids: Collection[int]) -> None:
        self._database.executemany(
            "DELETE FROM messages WHERE id = ?", ((number,) for number in message_ids)
        )

    def _note(self, message_ids: Collection[int], now: float) -> None:
        self._database.executemany(
            "UPDATE messages SET refused_at = ?"
            f" WHERE id = ? AND (refused_at IS NULL OR refused_at < {_CLOCK_IS_SET})",
            ((now, number) for number in message_ids),
        )

    def _write(
        self, change: Callable[[], None], *, durable: bool = False, size_bytes: int = 0
    ) -> None:
        """Make ``change`` in one transaction, with the reserve if there is no other room."""
        needed = size_bytes + _EXTRA_PAGES * _PAGE_BYTES
        with self._explained():
            try:
                if spool_file.size_bytes(self._wal) + needed > self._reserve.size_bytes:
                    self._empty_wal()
                with self._transaction(durable=durable):
                    change()
            except sqlite3.OperationalError as error:
                if not _may_be_full(error):
                    raise
                with self._reserve_released(), self._transaction(durable=durable):
                    change()

    @contextlib.contextmanager
    def _reserve_released(self) -> Iterator[None]:
        try:
            self._reserve.release()
            self._empty_wal()
            # The WAL gives back what it takes of the reserve; the database would not.
            self._set("max_page_count", self._pragma("page_count"))
            yield
        finally:
            self._set("max_page_count", self._max_pages)
            with contextlib.suppress(sqlite3.OperationalError):
                self._empty_wal()
            self._reserve.take()

    def _empty_wal(self) -> None:
        """Move everything from the WAL into the database, and give its room back to the disk."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[None]:
        if durable is not self._is_durable:
            self._set("synchronous", "FULL" if durable else "NORMAL")
            self._is_durable = durable
        self._database.execute("BEGIN")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _pragma(self, name: str) -> int:
        (value,) = self._database.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    def _set(self, name: str, value: object) -> None:
        self._database.execute(f"PRAGMA {name} = {value}").fetchone()

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return spool_file.explained(self._name)


def _may_be_full(error: sqlite3.OperationalError) -> bool:
    """Whether more room may help; SQLite calls an exhausted quota an error in writing."""
    return error.sqlite_errorname in {"SQLITE_FULL", "SQLITE_IOERR_WRITE"}
