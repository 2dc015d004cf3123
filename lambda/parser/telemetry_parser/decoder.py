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
from functools import partial
from typing import Any, TypeVar

import msgspec

from contracts import Contract
from contracts.packed import is_packed, split
from contracts.reading import ReadingChecker, check_utf8, unknown_names
from telemetry_parser.rejections import MessageError, ReasonClass, Rejection
from telemetry_parser.settings import Limits

_Value = TypeVar("_Value")
_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*+)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NOT_WHOLE = "expected whole JSON, one reading or an array of them"
_PLACE = re.compile(r" \(byte \d+\)\Z")


def decode_all(
    decoder: msgspec.json.Decoder[_Value], texts: Sequence[bytes], default: _Value
) -> list[_Value]:
    """Decode each of ``texts``; where one does not fit, its value is ``default``.

    Most texts fit, so the loop is in C and is left only for one that does not.
    """
    decode = decoder.decode
    if not all(map(bytes.isascii, texts)):
        decode = partial(_decode_utf8, decoder)
    values: list[_Value] = []
    decoded = map(decode, texts)
    while len(values) < len(texts):
        try:
            # At an exception, ``extend`` keeps what came before it.
            values.extend(decoded)
        except (ValueError, RecursionError):
            values.append(default)
    return values


def _decode_utf8(decoder: msgspec.json.Decoder[_Value], text: bytes) -> _Value:
    check_utf8(text)
    return decoder.decode(text)


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

    def decode_singles(self, payloads: Sequence[bytes], *, size: int) -> list[Any]:
        """Return for each payload its reading, or None if it is not one reading that fits.

        ``size`` is that of all payloads.
        """
        if size > self._surely_within:
            return [None] * len(payloads)
        return decode_all(self._one, payloads, None)

    def decode(self, payload: bytes, *, most_rejections: int) -> Readings:
        """Return each reading of ``payload``, or why it is not one.

        Args:
            payload: After gunzip.
            most_rejections: If more readings than this do not fit, the message is rejected whole.

        Raises:
            MessageError: The message is rejected whole; the module's docstring says when.
        """
        if len(payload) > self._surely_within:
            self._check_size(payload)
        if not is_packed(payload):
            if not self._is_json(payload):
                raise MessageError(ReasonClass.JSON, _NOT_WHOLE)
            return self._decode_each((payload,), most_rejections)
        with contextlib.suppress(ValueError, RecursionError):
            check_utf8(payload)
            values = self._many.decode(payload)
            if values:
                return Readings(values, range(len(values)))
        return self._decode_each(self._take_apart(payload), most_rejections)

    def _check_size(self, payload: bytes) -> None:
        limit = self._limits.max_message_bytes
        if len(payload) > limit:
            raise MessageError(ReasonClass.LIMIT, f"expected at most MAX_MESSAGE_BYTES, {limit:,}")
        limit = self._limits.max_message_values
        if sum(map(payload.count, (b",", b"{", b"["))) > limit:
            raise MessageError(ReasonClass.LIMIT, f"expected at most MAX_MESSAGE_VALUES, {limit:,}")

    def _decode_each(self, items: Iterable[bytes], most_rejections: int) -> Readings:
        values: list[Any] = []
        indexes: list[int] = []
        rejections: list[Rejection] = []
        for index, item in enumerate(items):
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

    def _take_apart(self, array: bytes) -> Iterable[bytes]:
        try:
            return map(bytes, self._raw_items.decode(array))
        except (msgspec.DecodeError, RecursionError):
            with contextlib.suppress(ValueError):
                return tuple(split(array))
        raise MessageError(ReasonClass.JSON, _NOT_WHOLE)

    def _is_json(self, text: bytes) -> bool:
        """Whether it is JSON apart from halves of surrogate pairs, as far as it can be read."""
        if b"\\u" in text:
            text = _SURROGATE.sub(rb"\1\\ufffd", text)
        try:
            self._raw.decode(text)
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


ONE_IN = 64
_MOST_MESSAGES = 1_000
_MOST_READINGS = 32
_MOST_PAYLOAD_BYTES = 256 * 1024
_MOST_NAMES = 20
_MOST_UNNAMED = 1_000
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class UnknownFields:
    """Collects names outside ``contract``, those in nested objects as ``outer.inner``."""

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        self._messages = 0
        self._names: set[str] = set()
        self._unnamed: set[str] = set()

    @property
    def named(self) -> tuple[str, ...]:
        """At most 20 names, each of at most 64 letters, digits, ``_``, ``.`` and ``-``; sorted."""
        return tuple(sorted(self._names))

    @property
    def unnamed(self) -> int:
        """How many more there were, up to 1,000."""
        return len(self._unnamed)

    def sample(self, payload: bytes) -> None:
        """Examine the payload of one message in ``ONE_IN``."""
        if self._messages == _MOST_MESSAGES or len(payload) > _MOST_PAYLOAD_BYTES:
            return
        self._messages += 1
        try:
            content = msgspec.json.decode(payload)
        except (ValueError, RecursionError):  # one of its readings was rejected for it
            return
        for reading in content[:_MOST_READINGS] if isinstance(content, list) else (content,):
            for name in unknown_names(self._schema, reading):
                self._note(name)

    def _note(self, name: str) -> None:
        if name in self._names:
            return
        if len(self._names) < _MOST_NAMES and _PLAIN.fullmatch(name):
            self._names.add(name)
        elif len(self._unnamed) < _MOST_UNNAMED:
            self._unnamed.add(name)
