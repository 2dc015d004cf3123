"""Split one message's payload into readings, each checked against the contract.

Pure: bytes in, values out. A payload is decoded and checked in one pass; only when that fails is it
taken apart, so that a bad reading costs its own row and not its neighbours'.

Of a key that appears twice in one object the last value wins, which RFC 8259 (section 4) leaves
open; every one of them must fit. Unknown fields must be JSON and UTF-8, and are not looked at.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from contracts import Contract
from contracts.reading import ReadingChecker, check_utf8
from telemetry_parser.limits import Limits
from telemetry_parser.rejections import MessageError, ReasonClass, Rejection
from telemetry_parser.together import decode_together

_FIRST = range(1)
_JSON_SPACE = b" \t\n\r"
# Up to the next bracket or comma outside a string. Possessive, so that no payload makes it slow.
_TO_STRUCTURE = re.compile(rb'(?:[^\[\]{},"]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])', re.DOTALL)
_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Readings(msgspec.Struct, gc=False):
    """What one payload holds; every reading of it is in ``values`` or in ``rejections``.

    Attributes:
        values: The readings that fit; instances of ``contracts.reading.reading_type``.
        indexes: 0-based place of each value in the message.
        rejections: The others, in order.
    """

    values: Sequence[Any]
    indexes: Sequence[int]
    rejections: Sequence[Rejection] = ()


class ReadingDecoder:
    """Decodes payloads of one contract: one reading, or an array of them."""

    def __init__(self, contract: Contract, limits: Limits) -> None:
        self._limits = limits
        # No payload holds more values than bytes.
        self._surely_within = min(limits.max_message_bytes, limits.max_message_values)
        self._checker = ReadingChecker(contract)
        self._one, self._many = self._checker.one, self._checker.many
        self._raw = msgspec.json.Decoder(msgspec.Raw)
        self._raw_items = msgspec.json.Decoder(list[msgspec.Raw])

    def decode_singles(self, payloads: Sequence[bytes]) -> Sequence[Any]:
        """Return the reading of each payload that is one that fits, and None for any other."""
        if sum(map(len, payloads)) > self._surely_within:
            return [None] * len(payloads)
        return decode_together(self._one, payloads) or [
            self._decode_single(payload) if payload.startswith(b"{") else None
            for payload in payloads
        ]

    def _decode_single(self, payload: bytes) -> Any:
        try:
            check_utf8(payload)
            return self._one.decode(payload)
        except (ValueError, RecursionError):
            return None

    def decode(self, payload: bytes) -> Readings | None:
        """Return the readings of ``payload`` if there are any and all of them fit.

        Raises:
            MessageError: The message is rejected whole: it exceeds a limit.
        """
        if len(payload) > self._surely_within:
            self._check_size(payload)
        if not _is_array(payload):
            reading = self._decode_single(payload)
            return None if reading is None else Readings((reading,), _FIRST)
        try:
            check_utf8(payload)
            if values := self._many.decode(payload):
                return Readings(values, range(len(values)))
        except (ValueError, RecursionError):
            pass
        return None

    def _check_size(self, payload: bytes) -> None:
        limit = self._limits.max_message_bytes
        if len(payload) > limit:
            raise MessageError(ReasonClass.LIMIT, f"expected at most MAX_MESSAGE_BYTES, {limit:,}")
        limit = self._limits.max_message_values
        if sum(map(payload.count, (b",", b"{", b"["))) > limit:
            raise MessageError(ReasonClass.LIMIT, f"expected at most MAX_MESSAGE_VALUES, {limit:,}")

    def decode_each(self, payload: bytes, *, most_rejections: int) -> Readings:
        """Return each reading of ``payload``, or why it is not one.

        Args:
            payload: What ``decode`` returned None for.
            most_rejections: If more readings than this do not fit, the message is rejected whole.

        Raises:
            MessageError: The message is rejected whole: it is not JSON, is cut short, holds no
                reading, or exceeds a limit.
        """
        values: list[Any] = []
        indexes: list[int] = []
        rejections: list[Rejection] = []
        for index, item in enumerate(self._take_apart(payload)):
            reading = self._decode_one(index, item)
            if isinstance(reading, Rejection):
                rejections.append(reading)
                if len(rejections) > most_rejections:
                    raise MessageError(
                        ReasonClass.LIMIT,
                        f"more than {most_rejections:,} readings do not fit, and their copies "
                        "of the raw line would exceed MAX_REJECTED_BYTES",
                    )
            else:
                values.append(reading)
                indexes.append(index)
        if not values and not rejections:
            raise MessageError(ReasonClass.JSON, "expected a reading, got an empty array")
        return Readings(values, indexes, rejections)

    def _decode_one(self, index: int, item: bytes) -> Any:
        try:
            item.decode()
            return self._one.decode(item)
        except UnicodeDecodeError:
            return Rejection(ReasonClass.JSON, "expected UTF-8", "$", index)
        except msgspec.ValidationError as error:
            return Rejection(ReasonClass.CONTRACT, *self._checker.violation(error), index)
        except RecursionError:
            return Rejection(ReasonClass.JSON, "nested too deeply", "$", index)
        except msgspec.DecodeError:  # all that _take_apart leaves
            return Rejection(ReasonClass.JSON, "a string holds half a surrogate pair", "$", index)

    def _take_apart(self, payload: bytes) -> Iterator[bytes]:
        is_array = _is_array(payload)
        try:
            items = self._raw_items.decode(payload) if is_array else [self._raw.decode(payload)]
        except msgspec.DecodeError:
            if b"\\u" not in payload:
                raise _not_json() from None
        except RecursionError:
            pass
        else:
            yield from map(bytes, items)
            return
        # Half a surrogate pair or deep nesting in one reading fails the whole array; without
        # them, does it read?
        for item in _split(payload) if is_array else (payload,):
            with contextlib.suppress(RecursionError):
                try:
                    self._raw.decode(_SURROGATE.sub(rb"\1\\ufffd", item))
                except msgspec.DecodeError:
                    raise _not_json() from None
            yield item


def _not_json() -> MessageError:
    return MessageError(ReasonClass.JSON, "expected whole JSON, one reading or an array of them")


def _is_array(payload: bytes) -> bool:
    return not payload.startswith(b"{") and payload.lstrip(_JSON_SPACE).startswith(b"[")


def _split(array: bytes) -> Iterator[bytes]:
    """Yield the items of a JSON array by its brackets and strings alone, without recursion.

    Raises:
        MessageError: The brackets do not close, or something follows them.
    """
    depth = start = end = 0
    while token := _TO_STRUCTURE.match(array, end):
        end = token.end()
        match token[1]:
            case b"[" | b"{":
                depth += 1
                if depth == 1:
                    start = end
            case b"]" | b"}":
                depth -= 1
                if depth == 0:
                    yield array[start : end - 1]
                    if token[1] != b"]" or array[end:].strip(_JSON_SPACE):
                        raise _not_json()
                    return
            case b"," if depth == 1:
                yield array[start : end - 1]
                start = end
    raise _not_json()
