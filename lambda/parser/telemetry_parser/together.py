"""Decode many JSON objects in one pass: much of one's cost is calling the decoder.

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

    None says no more than that: they are then to be decoded one by one.

    No text can reach into the next. They are joined by a ``\n``, which a JSON string cannot hold,
    after ``}`` and before ``{``, which stand side by side nowhere within a value. So each holds
    whole values, one at least, and as many values as texts means one each.
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
