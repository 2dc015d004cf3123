"""Split one message's payload into readings, each checked against the contract.

Pure: bytes in, values out. A payload is decoded and checked in one pass. Only when that fails, it
is taken apart, so that a bad reading costs its own row and not its neighbours'. This includes a
reading that is not JSON (NaN, ``021.5``, a trailing comma, single quotes): only brackets, commas
and double-quoted strings decide where a reading begins and ends.

A message is rejected whole only if it exceeds a limit, is a single reading that is not JSON, is an
empty array, or is an array whose readings cannot be told apart: a string or bracket is not closed,
a bracket has no counterpart, or something follows the array.

If a key appears twice in one object, the last value wins (RFC 8259, section 4, leaves this open),
but each value must fit. Unknown fields must be JSON and UTF-8; their values are not checked.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from contracts import Contract
from contracts.packed import is_packed, split
from contracts.reading import ReadingChecker, check_utf8
from telemetry_parser.limits import Limits
from telemetry_parser.rejections import MessageError, ReasonClass, Rejection
from telemetry_parser.together import decode_together

_FIRST = range(1)
_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_PLACE = re.compile(r" \(byte \d+\)\Z")


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
        """Return for each payload its reading, or None if it is not one reading that fits."""
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
        if not is_packed(payload):
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
            MessageError: The message is rejected whole; the module's docstring says when.
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
        except msgspec.DecodeError as error:
            return Rejection(ReasonClass.JSON, self._not_json(item, error), "$", index)

    def _take_apart(self, payload: bytes) -> Iterable[bytes]:
        if not is_packed(payload):
            if self._is_json(payload):
                return (payload,)
        else:
            try:
                return map(bytes, self._raw_items.decode(payload))
            except (msgspec.DecodeError, RecursionError):
                with contextlib.suppress(ValueError):
                    return tuple(split(payload))
        raise MessageError(ReasonClass.JSON, "expected whole JSON, one reading or an array of them")

    def _is_json(self, text: bytes) -> bool:
        """Whether it is JSON apart from halves of surrogate pairs, as far as it can be read."""
        try:
            self._raw.decode(_SURROGATE.sub(rb"\1\\ufffd", text))
        except msgspec.DecodeError:
            return False
        except RecursionError:
            pass
        return True

    def _not_json(self, item: bytes, error: msgspec.DecodeError) -> str:
        if self._is_json(item):
            return "a string holds half a surrogate pair"
        if not item.strip():
            return "expected a reading, got nothing between commas"
        # Without the place, so that the same fault has the same reason.
        fault = _PLACE.sub("", str(error)).removeprefix("JSON is malformed: ")
        return f"expected JSON: {fault[0].lower()}{fault[1:]}"
