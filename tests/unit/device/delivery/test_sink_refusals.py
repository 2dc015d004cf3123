"""The sink when the broker refuses a message, or the spool has no room or breaks."""

from pathlib import Path

import pytest

from device.delivery import outbox, worker
from device.delivery.mqtt import ACKNOWLEDGED
from device.delivery.spool import Additions, Spool
from device.errors import (
    SpoolError,
    SpoolFull,
    Unreachable,
)
from tests.unit.device.delivery.sinks import (
    NOW,
    REFUSED,
    fail,
    make,
    numbered,
    sent_numbers,
    wait_until,
)
from tests.unit.device.fake_broker import FakeConnection


def test_a_refused_message_blocks_nothing_and_goes_out_with_the_next_run(tmp_path: Path) -> None:
    broker = FakeConnection(REFUSED)
    with make(tmp_path, broker, pack=False) as taking:
        taking.put_payload(numbered(1))
        taking.put_payload(numbered(2))
        assert not taking.flush(10)
        totals = taking.totals()
        assert (totals.refused, totals.acknowledged, totals.spooled) == (1, 1, 1)
        assert taking.reasons() == {"refused: not authorized (135)": 1}
    again = FakeConnection()
    with make(tmp_path, again) as taking:
        assert taking.flush(10)
    assert again.sent == broker.sent[:1]


def test_a_refused_message_is_tried_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 0.05)
    broker = FakeConnection(REFUSED)
    with make(tmp_path, broker, pack=False) as taking:
        taking.put_payload(numbered(1))
        wait_until(lambda: taking.totals().acknowledged == 1)
        assert taking.totals().refused == 0
    assert len(broker.sent) == 2


def test_what_is_refused_for_a_week_is_dropped_and_counted(tmp_path: Path) -> None:
    with make(tmp_path, FakeConnection(REFUSED), clock=lambda: NOW) as taking:
        taking.put_payload(numbered(1))
    later = NOW + worker.REFUSED_KEPT_SECONDS + 1
    with make(tmp_path, FakeConnection(), clock=lambda: later) as taking:
        assert taking.totals().dropped == 1
        assert taking.totals().spooled == 0


def test_a_full_spool_refuses_what_is_new(tmp_path: Path) -> None:
    silent = FakeConnection(*[None] * 1000)
    taking = make(tmp_path, silent, pack=False, max_bytes=1)
    with pytest.raises(SpoolFull, match="was not taken"):  # noqa: PT012  # which one, is open
        for _ in range(1000):
            taking.put_payload(b"x" * 1000)
    assert 10 < taking.totals().taken < 100
    wait_until(lambda: len(silent.sent) == taking.totals().taken)
    silent.answer_all(ACKNOWLEDGED)
    wait_until(lambda: taking.totals().spooled == 0)
    taking.put_payload(b"x" * 1000)
    taking.close(0)


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    offline = FakeConnection()
    offline.connect = lambda: fail(Unreachable("nobody"))  # type: ignore[method-assign]
    taking = make(tmp_path, offline, pack=False, max_bytes=1, when_full="drop_oldest")
    for number in range(200):
        taking.put_payload(b'{"n":%d,"x":"%s"}' % (number, b"x" * 1000))
    totals = taking.totals()
    taking.close(0)
    assert totals.taken == 200
    assert totals.dropped == 200 - totals.spooled > 100
    broker = FakeConnection()
    with make(tmp_path, broker):
        pass
    assert sent_numbers(broker) == list(range(totals.dropped, 200))


class Broken(Spool):
    def add(self, additions: Additions) -> None:
        self._database.close()
        super().add(additions)


def test_a_broken_spool_is_said_to_every_caller_of_put(tmp_path: Path) -> None:
    spool = Broken(tmp_path / "spool.db", max_bytes=1 << 28)
    taking = make(tmp_path, FakeConnection(), spool=spool, pack=False)
    for _ in range(2):
        with pytest.raises(SpoolError, match="damaged"):
            taking.put_payload(b"{}")
    assert isinstance(taking.failure, SpoolError)
    with pytest.raises(SpoolError):
        taking.flush(1)


def test_a_spool_that_breaks_before_anyone_asks_is_said_when_the_sink_is_closed(
    tmp_path: Path,
) -> None:
    spool = Broken(tmp_path / "spool.db", max_bytes=1 << 28)
    taking = make(tmp_path, FakeConnection(), spool=spool, pack=False)
    taking.put_payload(b"{}", wait=False)
    wait_until(lambda: taking.failure)
    with pytest.raises(SpoolError, match="damaged"):
        taking.close()


# The library's front door.
