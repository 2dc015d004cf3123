"""How much the parser takes in before it refuses: the bounds that hostile input meets."""

from dataclasses import dataclass

_MIB = 1024 * 1024


class ObjectError(ValueError):
    """A raw object cannot be read to its end, so none of it is parsed; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on one object; each is an environment variable of the same name in upper case.

    The defaults let through whatever the pipeline itself can bring: AWS IoT Core takes payloads
    of 128 KiB, Firehose records of 1,000 KiB and, when it is behind, batches above 128 MiB.
    See https://docs.aws.amazon.com/firehose/latest/dev/limits.html

    Attributes:
        max_line_bytes: Length of one raw line; a longer one refuses the object.
        max_message_bytes: Size of one message's payload after gunzip; a larger one is rejected.
        max_message_values: JSON values in one message, estimated from its commas and braces; it
            bounds the memory that a small but finely divided payload takes. More is rejected.
        max_object_bytes: Size of one object after gunzip, and that of all its gzip payloads
            after gunzip. A raw object beyond it is refused; a message beyond it is rejected.
        max_rejected_bytes: Room for repeating the raw line of a message of which several
            readings are rejected. Beyond it a message is rejected whole, its line once.
    """

    max_line_bytes: int = 4 * _MIB
    max_message_bytes: int = 8 * _MIB
    max_message_values: int = 1_000_000
    max_object_bytes: int = 2048 * _MIB
    max_rejected_bytes: int = 128 * _MIB
