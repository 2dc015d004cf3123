"""The spool: what is committed is there again, and a file that is not a spool is left alone."""

import itertools
import multiprocessing
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from device.delivery.spool import Additions, Spool, SpooledMessage
from device.delivery.spool_file import Contents, contents_of
from device.errors import ExitStatus, SpoolError, SpoolFull, SpoolInUse

LARGE = 1 << 30
NOW = 1_795_000_000.0  # in November 2026


def add(
    spool: Spool,
    *messages: tuple[str, bytes, int],
    readings: Sequence[tuple[str, bytes]] = (),
    packed: Mapping[str, int] | None = None,
) -> list[int]:
    """Add messages (topic, payload, how many readings) and readings; return the messages' ids."""
    ids = itertools.count(spool.last_id() + 1)
    made = [SpooledMessage(next(ids), *message) for message in messages]
    spool.add(Additions(made, list(readings), dict(packed or {})))
    return [message.id for message in made]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, max_bytes=LARGE)
    yield made
    made.close()


def test_a_message_is_the_same_to_the_byte_until_it_is_removed(path: Path) -> None:
    payload = bytes(range(256))
    spool = Spool(path, max_bytes=LARGE)
    add(spool, ("a/é", payload, 3), ("b", b"", 1))
    spool.close()
    again = Spool(path, max_bytes=LARGE)
    first, second = again.messages(0, 10)
    assert (first.topic, first.payload, first.readings) == ("a/é", payload, 3)
    again.remove([first.id])
    assert again.messages(0, 10) == [second]
    assert again.messages(second.id, 10) == []
    again.close()


_OLD = Path(__file__).parent / "spools"


@pytest.mark.parametrize("version", [1, 2])
def test_a_spool_that_an_earlier_release_left_is_taken_over_with_all_that_is_in_it(
    tmp_path: Path, version: int
) -> None:
    # Made by the code of that version, killed after its last commit, which is in the WAL alone.
    shutil.copytree(_OLD / f"version-{version}-killed", tmp_path, dirs_exist_ok=True)
    for _ in range(2):
        spool = Spool(tmp_path / "spool.db", max_bytes=LARGE)
        # Version 2 had set the message with 4 aside.
        assert [(m.payload, m.readings) for m in spool.messages(0, 9)] == [
            (b'[{"n":1},{"n":2}]', 2),
            (b'{"n":3}', 1),
            (b'{"n":4}', 1),
            (b'{"n":6}', 1),
        ]
        assert [content for _, content in spool.readings()] == [b'{"n":5}']
        spool.close()
    assert contents_of(tmp_path / "spool.db") == Contents(waiting=6, refused=1)


def test_a_look_changes_nothing(path: Path) -> None:
    spool = Spool(path, max_bytes=LARGE)
    add(spool, ("a", b"x", 10), readings=[("a", b"{}")])
    with pytest.raises(SpoolInUse):
        contents_of(path)
    spool.close()
    before = path.read_bytes()
    assert contents_of(path) == Contents(waiting=11, refused=0)
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(SpoolError, match="cannot use the spool"):
        contents_of(path)
    assert not path.exists()


def test_ids_are_never_used_again(spool: Spool) -> None:
    (first,) = add(spool, ("a", b"", 1))
    spool.remove([first])
    assert spool.last_id() == first
    add(spool, ("a", b"", 1))
    assert spool.messages(0, 1)[0].id > first


def test_a_step_that_fails_did_nothing(spool: Spool) -> None:
    twice = SpooledMessage(1, "a", b"", 1)
    with pytest.raises(SpoolError):
        spool.add(Additions([twice, twice], [("a", b"{}")], {}))
    assert spool.messages(0, 1) == []
    assert spool.count().waiting == 0


def test_what_was_committed_survives_kill(path: Path) -> None:
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from device.delivery.spool import Additions, Spool
        spool = Spool(Path({str(path)!r}), max_bytes={LARGE})
        spool.add(Additions([], [("a", b"kept")], {{}}))
        spool._database.set_trace_callback(
            lambda sql: sql == "COMMIT" and os.kill(os.getpid(), signal.SIGKILL)
        )
        spool.add(Additions([], [("a", b"not committed")], {{}}))
    """
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    spool = Spool(path, max_bytes=LARGE)
    assert list(spool.readings()) == [("a", b"kept")]
    spool.close()


def test_its_files_are_their_owners_alone(path: Path, spool: Spool) -> None:
    add(spool, readings=[("a", b"x")])
    files = list(path.parent.iterdir())
    assert len(files) > 1
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def _open(path: Path, answers: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        Spool(path, max_bytes=LARGE)
    except SpoolError as error:
        answers.put(str(error))


def test_one_process_at_a_time(path: Path, spool: Spool) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    process = context.Process(target=_open, args=(path, answers))
    process.start()
    process.join()
    assert "in use by another process" in answers.get()
    with pytest.raises(SpoolError, match="in use by another process"):
        Spool(path, max_bytes=LARGE)
    assert SpoolError.status is ExitStatus.SPOOL


def _another_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()


def _newer(path: Path) -> None:
    Spool(path, max_bytes=LARGE).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 3")
    database.close()


def _damaged(path: Path) -> None:
    spool = Spool(path, max_bytes=LARGE)
    add(spool, *[("a", b"x" * 5000, 1)] * 100)
    spool.close()
    content = bytearray(path.read_bytes())
    content[4096:40960] = b"\xff" * (40960 - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(_another_database, "another kind of database", id="another database"),
        pytest.param(_newer, "expected a spool of version 2 at most, got 3", id="newer"),
        pytest.param(_damaged, "damaged or different file", id="damaged"),
        pytest.param(
            lambda path: path.write_bytes(b"no database" * 1000), "damaged or different", id="text"
        ),
    ],
)
def test_what_is_not_a_spool_is_named_and_left_as_it_is(
    path: Path,
    make: object,
    words: str,
) -> None:
    make(path)  # type: ignore[operator]  # one of the functions above
    before = path.read_bytes()
    with pytest.raises(SpoolError, match=words) as caught:
        Spool(path, max_bytes=LARGE)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_file_that_was_made_but_never_written_is_a_new_spool(path: Path) -> None:
    path.touch()
    spool = Spool(path, max_bytes=LARGE)
    assert spool.count().waiting == 0
    spool.close()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="cannot use the spool"):
        Spool(tmp_path / "none" / "spool.db", max_bytes=LARGE)


def test_a_full_spool_is_said_and_changes_nothing() -> None:
    small = Spool(None, max_bytes=1)
    with pytest.raises(SpoolFull):
        add(small, *[("a", b"x" * 10_000, 1)] * 30)
    assert small.messages(0, 1) == []
    small.close()


def test_removing_gives_room_again(spool: Spool) -> None:
    add(spool, *[("a", b"x" * 5_000, 7)] * 100)
    before = spool.room_bytes
    oldest = spool.oldest(1, but=[1, 2])
    assert oldest == {3: 7}
    spool.remove(oldest)
    assert [message.id for message in spool.messages(0, 3)] == [1, 2, 4]
    assert spool.room_bytes - before >= 4096
    assert spool.count().waiting == 99 * 7


def test_readings_leave_when_they_are_in_a_message(spool: Spool) -> None:
    add(spool, readings=[("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"4")])
    add(spool, ("a", b"[1,3]", 2), packed={"a": 2})
    assert list(spool.readings()) == [("b", b"2"), ("a", b"4")]
    assert spool.count().waiting == 4


def test_refused_messages_are_told_by_their_first_refusal(spool: Spool) -> None:
    add(spool, ("a", b"", 5), ("a", b"", 6))
    spool.note_refusals([1], NOW + 100)
    spool.note_refusals([1, 2], NOW + 200)
    assert spool.refused() == {1: 5, 2: 6}
    assert spool.refused(before=NOW + 150) == {1: 5}
    spool.remove([1])
    assert [message.readings for message in spool.messages(0, 9)] == [6]


def test_a_clock_that_was_not_set_yet_does_not_make_a_refusal_old(spool: Spool) -> None:
    add(spool, ("a", b"", 5))
    spool.note_refusals([1], 60.0)  # a minute after the device has started, in 1970
    assert spool.refused(before=NOW) == {}
    spool.note_refusals([1], NOW)  # with the clock set
    assert spool.refused(before=NOW) == {}
    assert spool.refused(before=NOW + 1) == {1: 5}


@pytest.mark.parametrize("make", [_another_database, _newer], ids=["another database", "newer"])
def test_a_look_knows_what_is_not_a_spool_of_ours(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(SpoolError, match="expected a spool"):
        contents_of(path)
