"""Messages that do not fit into what is left of a row group are split, and nothing is lost."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from telemetry_parser.envelope import Device, Envelope
from telemetry_parser.rows import Messages


def messages(counts: list[int]) -> Messages:
    """Messages of so many readings, each reading its own place."""
    made = Messages(counts=counts)
    for number, count in enumerate(counts):
        made.envelopes.append(Envelope(b"", f"topic-{number}", number))
        made.devices.append(Device(f"thing-{number}", b""))
        made.raw_lines.append(number)
        made.ids.append(str(number))
        made.readings += [(number, index) for index in range(count)]
        made.indexes += range(count)
    return made


def readings(of: Messages) -> list[Any]:
    """Each reading with all that belongs to it."""
    owners = [number for number, count in enumerate(of.counts) for _ in range(count)]
    return [
        (
            reading,
            index,
            of.envelopes[owner].topic,
            of.devices[owner].thing_name,
            of.raw_lines[owner],
            of.ids[owner],
        )
        for reading, index, owner in zip(of.readings, of.indexes, owners, strict=True)
    ]


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_the_parts_of_a_split_are_all_of_it(counts: list[int], data: st.DataObject) -> None:
    whole = messages(counts)
    cut = data.draw(st.integers(1, sum(counts)))
    head, tail = whole.split(cut)
    assert len(head.readings) == cut
    assert readings(head) + readings(tail) == readings(messages(counts))
    assert 0 not in head.counts + tail.counts
