"""The buffer of Firehose's stand-in: when it is due, and that no record is lost or repeated."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.firehose_buffer import Buffer

INTERVAL_SECONDS = 5
SIZE_BYTES = 1000

# What json.dumps gives has no line break.
RECORDS = st.lists(st.text(max_size=300).filter(lambda text: "\n" not in text), min_size=1)


def is_due(buffer: Buffer) -> bool:
    return buffer.is_due(INTERVAL_SECONDS, SIZE_BYTES)


def test_an_empty_buffer_is_never_due(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path, "rule", clock=lambda: 1e9)
    assert not is_due(buffer)
    assert buffer.is_empty()


@pytest.mark.parametrize(("seconds", "due"), [(0, False), (4.9, False), (5, True), (60, True)])
def test_a_buffer_is_due_an_interval_after_its_first_record(
    seconds: float, due: bool, tmp_path: Path
) -> None:
    now = 100.0
    buffer = Buffer(tmp_path, "rule", clock=lambda: now)
    buffer.append("first")
    now += seconds
    buffer.append("second")
    assert is_due(buffer) is due


@given(RECORDS)
def test_a_buffer_is_due_at_its_size_before_compression(records: list[str]) -> None:
    with TemporaryDirectory() as folder:
        buffer = Buffer(Path(folder), "rule", clock=lambda: 0.0)
        for record in records:
            buffer.append(record)
        written = "".join(record + "\n" for record in records).encode()
        assert is_due(buffer) is (len(written) >= SIZE_BYTES)


@given(RECORDS)
def test_a_batch_has_the_records_as_they_were_appended(records: list[str]) -> None:
    with TemporaryDirectory() as folder:
        buffer = Buffer(Path(folder), "rule")
        for record in records:
            buffer.append(record)
        buffer.close()
        (batch,) = buffer.batches()
        assert list(batch.records) == records
        batch.path.unlink()
        assert buffer.is_empty()


def test_rules_do_not_share_their_buffers(tmp_path: Path) -> None:
    Buffer(tmp_path, "local_a").append("a")
    assert Buffer(tmp_path, "local").is_empty()
    assert Buffer(tmp_path, "local_b").is_empty()


def test_what_a_killed_process_wrote_half_is_not_a_record(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path, "rule")
    buffer.append("first")
    (file,) = tmp_path.glob("*.open")
    file.write_bytes(file.read_bytes() + b"hal")
    buffer.append("second")
    buffer.close()
    (batch,) = buffer.batches()
    assert batch.records == ("first", "second")


def test_a_record_that_has_no_room_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path, "rule")
    buffer.append("first")
    (file,) = tmp_path.glob("*.open")
    before = file.read_bytes()
    file.chmod(0o600)
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        buffer.append("second")
    file.unlink()
    file.write_bytes(before)
    buffer.close()
    (batch,) = buffer.batches()
    assert batch.records == ("first",)


def test_every_record_is_in_one_batch_however_often_batches_are_closed(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path, "rule")
    numbers = [str(number) for number in range(2000)]

    def write() -> None:
        for number in numbers:
            buffer.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    found: list[str] = []
    while writer.is_alive() or not buffer.is_empty():
        if buffer.is_due(0, SIZE_BYTES):
            buffer.close()
        for batch in buffer.batches():
            found += batch.records
            batch.path.unlink()
    writer.join()
    assert found == numbers
