"""Why something was set aside, in words that never quote what a device sent."""

import re
from enum import StrEnum
from functools import lru_cache

import msgspec


class ReasonClass(StrEnum):
    """What kind of fault: few and fixed, so that they can be counted in metrics."""

    LINE = "line"  # the raw line is not an envelope
    TOPIC = "topic"  # the topic is not one of this channel's
    GZIP = "gzip"  # the payload begins like gzip, and is not
    LIMIT = "limit"  # larger than a limit allows
    JSON = "json"  # the payload, or one reading of it, cannot be read as JSON
    CONTRACT = "contract"  # a reading does not fit the contract


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why one reading was set aside.

    Attributes:
        reason_class: For counting.
        reason: What was expected and found, without the device's values.
        path: JSON path of the first violation in the reading; None if all of it is at fault.
        reading_index: Its 0-based place in the message; None: the whole message.
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


_JSON_WORDS = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
_PYTHON_WORD = re.compile(r"\b(" + "|".join(_JSON_WORDS) + r")\b")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_TYPE = re.compile(r"`[^`]*`")


def describe(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return the reason and the JSON path of a violation, from the decoder's own message.

    That message quotes the value in one case only, an enum's; names in it are the contract's.
    """
    return _described(str(error))


@lru_cache(maxsize=1024)
def _described(error: str) -> tuple[str, str]:
    message, _, path = error.partition(" - at `")
    path = path.removesuffix("`") or "$"
    if missing := _MISSING.match(message):
        return "required field is missing", f"{path}.{missing[1]}"
    if message.startswith("Invalid enum value"):
        return "expected one of the values that the contract allows", path
    words = _TYPE.sub(lambda quoted: _in_json_words(quoted[0].strip("`")), message)
    return words[0].lower() + words[1:], path


def _in_json_words(python: str) -> str:
    return _PYTHON_WORD.sub(lambda word: _JSON_WORDS[word[0]], python)
