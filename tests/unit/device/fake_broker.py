"""Connections to a broker that answer as they are told."""

from collections.abc import Callable
from concurrent.futures import Future

from device.delivery.mqtt import ACKNOWLEDGED, PublishOutcome, PublishResult
from device.errors import ConnectionFailed


class FakeProof:
    """A connection that answers at once, as ``answer`` says for a topic."""

    def __init__(self, answer: Callable[[str], PublishResult]) -> None:
        self._answer = answer

    def __enter__(self) -> "FakeProof":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def publish(self, topic: str, _payload: bytes) -> "Future[PublishResult]":
        done: Future[PublishResult] = Future()
        done.set_result(self._answer(topic))
        return done


class FakeConnection:
    """A broker that answers as told: a delivery, None for no answer, or the end of all."""

    def __init__(self, *answers: PublishResult | ConnectionFailed | None) -> None:
        self._answers = iter(answers)
        self._pending: list[Future[PublishResult]] = []
        self.failure: ConnectionFailed | None = None
        self.sent: list[tuple[str, bytes]] = []
        self.most_pending = 0
        self.closed = False

    def connect(self) -> None:
        pass

    def publish(self, topic: str, payload: bytes) -> "Future[PublishResult]":
        if self.failure is not None:
            raise self.failure
        answer = next(self._answers, ACKNOWLEDGED)
        if isinstance(answer, ConnectionFailed):
            self.failure = answer
            raise answer
        self.sent.append((topic, payload))
        future: Future[PublishResult] = Future()
        if answer is None:
            self._pending.append(future)
            self.most_pending = max(self.most_pending, len(self._pending))
        else:
            future.set_result(answer)
        return future

    def answer_all(self, delivery: PublishResult) -> None:
        pending, self._pending = self._pending, []
        for future in pending:
            future.set_result(delivery)

    def close(self) -> None:
        self.closed = True
        self.answer_all(PublishResult(PublishOutcome.UNKNOWN, "the connection was closed"))
