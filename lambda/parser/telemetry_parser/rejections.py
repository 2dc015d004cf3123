"""Why a message or reading was rejected, in words that never quote what a device sent."""

from enum import StrEnum

import msgspec


class ReasonClass(StrEnum):
    """The kinds of faults: few and fixed, so that metrics can count them."""

    LINE = "line"  # the raw line is not an envelope
    TOPIC = "topic"  # the topic is not one of this channel's
    GZIP = "gzip"  # the payload begins like gzip, and is not
    LIMIT = "limit"  # larger than a limit allows
    JSON = "json"  # the payload, or one reading of it, cannot be read as JSON
    CONTRACT = "contract"  # a reading does not fit the contract


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why one reading was rejected.

    Attributes:
        reason_class: For counting.
        reason: What was expected and found, without the device's values.
        path: JSON path of the first violation in the reading; None if no single value is at fault.
        reading_index: Its 0-based place in the message; None for the whole message.
    """

    reason_class: ReasonClass
    reason: str
    path: str | None = None
    reading_index: int | None = None


class MessageError(ValueError):
    """A whole message is rejected.

    Attributes:
        rejection: Why.
    """

    def __init__(self, reason_class: ReasonClass, reason: str) -> None:
        super().__init__(reason)
        self.rejection = Rejection(reason_class, reason)
