"""Limits on the parser's input, against hostile devices."""

from dataclasses import dataclass

_MIB = 1024 * 1024


class ObjectError(ValueError):
    """A raw object cannot be read to its end, so none of it is parsed; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one object; each is an environment variable of the same name in upper case.

    The defaults admit anything that IoT Core and Firehose can deliver: AWS IoT Core accepts
    payloads of 128 KiB, Firehose accepts records of 1,000 KiB and, when it is behind, writes
    batches above 128 MiB.
    See https://docs.aws.amazon.com/firehose/latest/dev/limits.html

    Attributes:
        max_line_bytes: Length of one raw line; an object with a longer one is refused.
        max_message_bytes: Size of one message's payload after gunzip; a larger one is rejected.
        max_message_values: JSON values in one message, estimated from its commas and braces, since
            a small payload of very many values takes much memory. More are rejected.
        max_object_bytes: Size of one object after gunzip, and that of all its gzip payloads
            after gunzip. A raw object beyond it is refused; a message beyond it is rejected.
        max_rejected_bytes: Size of repeated raw lines: each rejected reading of a message repeats
            the message's raw line. Beyond it, a message is rejected whole, with one line.
    """

    max_line_bytes: int = 4 * _MIB
    max_message_bytes: int = 8 * _MIB
    max_message_values: int = 1_000_000
    max_object_bytes: int = 2048 * _MIB
    max_rejected_bytes: int = 128 * _MIB
