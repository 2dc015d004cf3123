"""The pacer: AWS IoT Core's limits are kept to, in order, and are used."""

import threading
import time

import pytest

from device.delivery import pacer
from device.delivery.pacer import Pacer


class Sent:
    """When each message was sent."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.times: list[float] = []
        self._changed = threading.Condition()

    def note(self, number: int) -> None:
        with self._changed:
            self.numbers.append(number)
            self.times.append(time.monotonic())
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.numbers) >= count, 10)


def send(paced: Pacer, sent: Sent, count: int, size_bytes: int) -> None:
    for number in range(count):
        paced.send(size_bytes, lambda number=number: sent.note(number))  # type: ignore[misc]  # mypy cannot infer such lambdas
    sent.wait_for(count)


@pytest.mark.parametrize(
    ("size_bytes", "least_seconds"),
    [pytest.param(100, 29 / 98, id="messages"), pytest.param(16 * 1024, 29 / 32, id="bytes")],
)
def test_sends_in_order_and_no_faster_than_the_limit(size_bytes: int, least_seconds: float) -> None:
    sent = Sent()
    send(Pacer(), sent, 30, size_bytes)
    assert sent.numbers == list(range(30))
    assert sent.times[-1] - sent.times[0] >= least_seconds - pacer._HEAD_START_SECONDS - 0.01


def test_a_message_that_need_not_wait_is_sent_by_the_caller() -> None:
    threads = set[int]()
    paced = Pacer()
    for _ in range(3):
        paced.send(10, lambda: threads.add(threading.get_ident()))
        time.sleep(0.02)
    assert threads == {threading.get_ident()}


def test_messages_that_the_sdk_sends_by_itself_take_their_share() -> None:
    paced, sent = Pacer(), Sent()
    started = time.monotonic()
    paced.hold(20)
    send(paced, sent, 1, 10)
    assert sent.times[0] - started >= 20 / 98 - pacer._HEAD_START_SECONDS
