"""Topics that a message can be published to."""

from contracts.names import MAX_TOPIC_BYTES

# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_MAX_SLASHES = 7


def check_topic(topic: str) -> str:
    """Return ``topic`` if a message can be published there.

    Raises:
        ValueError: It is empty, too long, or has a wildcard or too many slashes.
    """
    if not topic or any(character in topic for character in "+#\0"):
        raise ValueError(f"expected a topic without '+' and '#', got {topic!r}")
    # Basic Ingest's prefix does not count.
    rest = topic.split("/", 3)[-1] if topic.startswith("$aws/rules/") else topic
    size = len(rest.encode("utf-8", "surrogateescape"))
    if size > MAX_TOPIC_BYTES:
        raise ValueError(f"expected a topic of at most {MAX_TOPIC_BYTES} bytes, got {size}")
    if rest.count("/") > _MAX_SLASHES:
        raise ValueError(
            f"expected a topic of at most {_MAX_SLASHES} slashes, got {rest.count('/')}"
        )
    return topic
