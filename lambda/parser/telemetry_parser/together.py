"""Decode many JSON objects in one call, as the call is much of the cost of a small object.

Pure: bytes in, values out.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

import msgspec

from contracts.reading import check_utf8

_Value = TypeVar("_Value")

_first, _last = itemgetter(0), itemgetter(-1)
_OPENS, _CLOSES = {ord("{")}, {ord("}")}


def decode_together(
    decoder: msgspec.json.Decoder[_Value], texts: Sequence[bytes]
) -> list[_Value] | None:
    r"""Return the value of each of ``texts``, or None unless every one is one object that fits.

    After None, decode them one by one to find out more.

    No text can reach into the next one: texts are joined by ``\n``, which a JSON string cannot
    hold, and outside strings ``{`` never follows ``}`` within a value. So each text holds at least
    one whole value; if there are as many values as texts, each text is one value.
    """
    try:
        if set(map(_first, texts)) != _OPENS or set(map(_last, texts)) != _CLOSES:
            return None
        joined = b"\n".join(texts)
        check_utf8(joined)
        values = decoder.decode_lines(joined)
    except (ValueError, IndexError, RecursionError):
        return None
    return values if len(values) == len(texts) else None
