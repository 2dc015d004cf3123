"""Find the readings of a packed message by JSON's brackets, commas and double-quoted strings."""

import re
from collections.abc import Iterator

_JSON_SPACE = b" \t\n\r"
# Up to the next bracket or comma outside a string. Possessive, so that no payload makes it slow.
_TO_STRUCTURE = re.compile(rb'(?:[^\[\]{},"]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])', re.DOTALL)
_CLOSERS = {b"[": b"]", b"{": b"}"}


def is_packed(payload: bytes) -> bool:
    """Whether ``payload`` is an array, as its first character says."""
    return not payload.startswith(b"{") and payload.lstrip(_JSON_SPACE).startswith(b"[")


def split(array: bytes) -> Iterator[bytes]:
    """Yield the items of an array, which may be anything but JSON, in time linear to its length.

    The array need not be JSON, but its boundaries must be: its strings end, each bracket has its
    counterpart, and nothing follows the last one. An item may be empty.

    Raises:
        ValueError: The boundaries cannot be told. Do not use items that were yielded before.
    """
    open_brackets: list[bytes] = []
    start = end = 0
    while token := _TO_STRUCTURE.match(array, end):
        end = token.end()
        mark = token[1]
        if mark in _CLOSERS:
            open_brackets.append(_CLOSERS[mark])
            if len(open_brackets) == 1:
                start = end
        elif mark == b",":
            if len(open_brackets) == 1:
                yield array[start : end - 1]
                start = end
        elif not open_brackets or open_brackets.pop() != mark:
            break
        elif not open_brackets:
            yield array[start : end - 1]
            if array[end:].strip(_JSON_SPACE):
                break
            return
    raise ValueError("expected an array whose strings and brackets are closed")
