"""The outbox decides, without a thread, a clock or a disk, what to store and send next."""

import gzip
import json
import math
import random
from collections.abc import Iterable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from device.delivery import mqtt, outbox
from device.delivery.mqtt import ACKNOWLEDGED, PublishOutcome, PublishResult
from device.delivery.outbox import Outbox, QueuedPayload
from device.delivery.spool import SpooledMessage

TOPIC = "a/topic"
REFUSED = PublishResult(PublishOutcome.REFUSED, "not authorized (135)")
UNKNOWN = PublishResult(PublishOutcome.UNKNOWN, "no answer within 20 s")
HUNG_UP = PublishResult(PublishOutcome.UNKNOWN, "hung up", hung_up=True)
LATER = 2 * outbox.RETRY_SECONDS


class InMemory:
    """The messages of a spool."""

    def __init__(self, *numbers: int) -> None:
        self.stored = {number: message(number) for number in numbers}

    def messages(self, after: int, limit: int) -> list[SpooledMessage]:
        return [self.stored[number] for number in sorted(self.stored) if number > after][:limit]


def message(number: int) -> SpooledMessage:
    return SpooledMessage(number, TOPIC, b"%d" % number, 1)


def make(
    *,
    step_bytes: int = 1 << 20,
    last_id: int = 0,
    readings: Iterable[tuple[str, bytes]] = (),
    refused: Mapping[int, int] | None = None,
) -> Outbox:
    return Outbox(
        TOPIC,
        max_linger_seconds=10.0,
        step_bytes=step_bytes,
        last_id=last_id,
        readings=readings,
        refused=refused or {},
        now=0.0,
    )


def send(box: Outbox, spool: InMemory, now: float = 0.0) -> list[int]:
    """Hand over what the outbox says, until it says no more; return the ids."""
    sent = []
    while messages := box.next_messages(spool, now):
        for one in messages:
            box.sent(one)
            sent.append(one.id)
    return sent


def numbered(number: int) -> bytes:
    return b'{"n":%d}' % number


def unpacked(payload: bytes) -> list[int]:
    text = gzip.decompress(payload) if payload.startswith(b"\x1f\x8b") else payload
    value = json.loads(text)
    return [reading["n"] for reading in (value if isinstance(value, list) else [value])]


# What to store.


def test_a_reading_waits_for_others_and_is_stored_by_itself_meanwhile() -> None:
    box = make()
    step = box.next_step([QueuedPayload(numbered(1), pack=True)], flush=False)
    assert step is not None
    assert (step.additions.messages, step.additions.packed) == ([], {})
    assert step.additions.readings == [(TOPIC, numbered(1))]
    box.stored(step, now=5.0)
    assert not box.is_due(14.9)
    assert box.is_due(15.0)
    assert box.seconds_to_next(5.0, connected=True) == 10.0
    assert box.seconds_to_next(5.0, connected=False) == math.inf


def test_readings_that_waited_on_disk_leave_it_with_the_message_that_holds_them() -> None:
    box = make(last_id=7)
    for number in (1, 2):
        step = box.next_step([QueuedPayload(numbered(number), pack=True)], flush=False)
        assert step is not None
        box.stored(step, now=0.0)
    step = box.next_step([QueuedPayload(numbered(3), pack=True)], flush=True)
    assert step is not None
    (made,) = step.additions.messages
    assert (made.id, made.topic, made.readings) == (8, TOPIC, 3)
    assert unpacked(made.payload) == [1, 2, 3]
    assert step.additions.packed == {TOPIC: 2}
    assert step.additions.readings == []
    box.stored(step, now=0.0)
    assert not box.is_due(1e9)
    assert box.next_step([], flush=True) is None


def test_readings_of_an_earlier_run_are_due_at_once_each_to_its_own_topic() -> None:
    box = make(readings=[("old/topic", numbered(1)), (TOPIC, numbered(2))])
    assert box.is_due(0.0)
    step = box.next_step([], flush=True)
    assert step is not None
    assert {m.topic: unpacked(m.payload) for m in step.additions.messages} == {
        "old/topic": [1],
        TOPIC: [2],
    }
    assert step.additions.packed == {"old/topic": 1, TOPIC: 1}


def test_a_step_that_was_not_stored_changes_nothing() -> None:
    box = make()
    entries = [QueuedPayload(numbered(1), pack=True), QueuedPayload(b"as it is", pack=False)]
    first, again = box.next_step(entries, flush=True), box.next_step(entries, flush=True)
    assert first is not None
    assert again is not None
    assert first.additions == again.additions
    assert sorted(m.payload for m in first.additions.messages) == [b"as it is", numbered(1)]


def test_a_step_is_not_much_larger_than_it_may_be() -> None:
    box = make(step_bytes=10_000)
    entries = [QueuedPayload(b"x" * 1_000, pack=False) for _ in range(25)]
    sizes = []
    while step := box.next_step(entries, flush=False):
        sizes.append(step.entries)
        box.stored(step, now=0.0)
        del entries[: step.entries]
    assert sizes == [10, 10, 5]


@settings(deadline=None)
@given(
    batches=st.lists(
        st.tuples(st.lists(st.tuples(st.integers(0, 900), st.booleans())), st.booleans())
    ),
    step_bytes=st.integers(1, 5_000),
)
def test_every_reading_is_stored_once_and_in_order_whatever_the_batches(
    batches: list[tuple[list[tuple[int, bool]], bool]], step_bytes: int
) -> None:
    box = make(step_bytes=step_bytes)
    messages: list[SpooledMessage] = []
    waiting: list[bytes] = []
    count, to_pack = 0, []
    for batch, flush in batches:
        entries = []
        for size, pack in batch:
            text = random.Random(count).randbytes(size).hex()  # noqa: S311  # any text will do
            entries.append(QueuedPayload(json.dumps({"n": count, "x": text}).encode(), pack))
            to_pack += [count] if pack else []
            count += 1
        while step := box.next_step(entries, flush=flush):
            del entries[: step.entries]
            messages += step.additions.messages
            del waiting[: step.additions.packed.get(TOPIC, 0)]
            waiting += [payload for _, payload in step.additions.readings]
            box.stored(step, now=0.0)
        assert entries == []
        assert not (flush and waiting)
    assert [message.id for message in messages] == list(range(1, len(messages) + 1))
    assert [message.readings for message in messages] == [
        len(unpacked(message.payload)) for message in messages
    ]
    stored = [number for message in messages for number in unpacked(message.payload)]
    stored += [number for payload in waiting for number in unpacked(payload)]
    assert sorted(stored) == list(range(count))
    assert [number for number in stored if number in to_pack] == to_pack


def test_nothing_is_to_be_done_offline_even_if_refused_messages_are_due() -> None:
    spool, box = InMemory(1), make(last_id=1)
    send(box, spool)
    box.answered(spool.stored[1], REFUSED)
    assert box.seconds_to_next(LATER, connected=True) == 0
    assert box.seconds_to_next(LATER, connected=False) == math.inf


# What to send.


def test_messages_go_out_in_order_as_many_as_the_broker_allows_without_an_answer() -> None:
    box, spool = make(), InMemory(*range(1, 151))
    assert send(box, spool) == list(range(1, 101))
    assert len(box.in_flight) == mqtt.MAX_UNACKNOWLEDGED
    box.answered(spool.stored.pop(1), ACKNOWLEDGED)
    assert send(box, spool) == [101]


def test_a_message_without_an_answer_is_sent_again_before_what_comes_after_it() -> None:
    box, spool = make(), InMemory(*range(1, 151))
    send(box, spool)
    box.answered(message(3), UNKNOWN)
    box.answered(spool.stored.pop(50), ACKNOWLEDGED)
    assert send(box, spool) == [3, 101]


def test_a_refused_message_is_sent_again_only_after_a_while_alone_and_after_all_others() -> None:
    box, spool = make(), InMemory(1, 2, 3)
    send(box, spool)
    box.answered(message(1), REFUSED)
    assert box.refused_readings == 1
    spool.stored[4] = message(4)
    assert send(box, spool, LATER) == [4]
    for number in (2, 3, 4):
        box.answered(spool.stored.pop(number), ACKNOWLEDGED)
    assert send(box, spool, LATER) == [1]
    spool.stored[5] = message(5)
    assert send(box, spool, LATER) == []
    box.answered(spool.stored.pop(1), ACKNOWLEDGED)
    assert (box.refused_readings, send(box, spool, LATER)) == (0, [5])


def test_what_an_earlier_run_left_refused_is_sent_after_all_others() -> None:
    box, spool = make(last_id=2, refused={1: 1}), InMemory(1, 2)
    assert send(box, spool) == [2]
    box.answered(spool.stored.pop(2), ACKNOWLEDGED)
    assert send(box, spool) == [1]


def test_after_a_hang_up_messages_go_one_by_one_until_all_that_were_in_flight_are_decided() -> None:
    box, spool = make(), InMemory(1, 2, 3, 4)
    send(box, spool)
    for number in (1, 2, 3):
        box.answered(message(number), HUNG_UP)
    box.answered(spool.stored.pop(4), ACKNOWLEDGED)
    spool.stored |= {5: message(5), 6: message(6)}
    assert send(box, spool) == [1]
    box.answered(spool.stored.pop(1), ACKNOWLEDGED)
    assert send(box, spool) == [2]
    assert box.answered(message(2), HUNG_UP).outcome is PublishOutcome.REFUSED
    assert send(box, spool) == [3]
    box.answered(spool.stored.pop(3), ACKNOWLEDGED)
    assert send(box, spool) == [5, 6]
    assert box.refused_readings == 1


def test_the_message_after_one_that_makes_the_broker_hang_up_goes_alone_too() -> None:
    box, spool = make(), InMemory(1)
    send(box, spool)
    box.answered(message(1), HUNG_UP)
    assert send(box, spool) == [1]
    spool.stored |= {number: message(number) for number in (2, 3, 4)}
    assert box.answered(message(1), HUNG_UP).outcome is PublishOutcome.REFUSED
    assert send(box, spool) == [2]
    box.answered(spool.stored.pop(2), ACKNOWLEDGED)
    assert send(box, spool) == [3, 4]


def test_a_message_that_was_alone_and_is_only_without_an_answer_is_not_refused() -> None:
    box, spool = make(), InMemory(1)
    send(box, spool)
    box.answered(message(1), HUNG_UP)
    assert send(box, spool) == [1]
    assert box.answered(message(1), UNKNOWN) == UNKNOWN
    assert send(box, spool) == [1]


def test_a_refused_message_that_was_dropped_is_not_waited_for_or_sent() -> None:
    box, spool = make(), InMemory(1)
    send(box, spool)
    box.answered(spool.stored.pop(1), REFUSED)
    box.dropped([1])
    assert box.refused_readings == 0
    assert send(box, spool, LATER) == []
