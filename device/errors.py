"""The errors of the commands: one line for people, one exit status for programs.

DeviceError                 an error that a person can fix; has an ExitStatus
├── IdentityError           the identity's folder is missing or broken
├── ConnectionFailed        there is no MQTT connection, or it cannot be restored
│   ├── ConnectionRefused   the broker refused the connection
│   │   └── ConnectionDropped   the broker ended the connection
│   └── Unreachable         no broker answered
├── RequestFailed           AWS IoT refused a request over MQTT, or did not answer it
├── SpoolError              the spool on disk is damaged, not a spool, or in use
│   ├── SpoolInUse          another process of the same device has it open
│   └── SpoolFull           there is no room for another reading
└── AwsError                an AWS API could not be used
"""

from enum import IntEnum
from typing import Self


class ExitStatus(IntEnum):
    """The exit status of every command. Python itself uses 1, for an unhandled exception.

    If several apply, the gravest counts. From light to grave the order is ``INVALID``,
    ``REFUSED``, ``UNKNOWN``, and then the status that ended the command early.

    Attributes:
        meaning: The meaning, for help texts.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member from its number and its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "Everything was done, or there was nothing to do."
    USAGE = 2, "An option or an input file is missing, unknown or has a bad value."
    INVALID = 3, "Some readings do not fit the contract and were not sent."
    REFUSED = 4, "The broker refused some messages."
    UNKNOWN = 5, "Some messages have no answer: they may or may not have arrived."
    CONNECTION_REFUSED = 6, "The broker refused or ended the connection."
    UNREACHABLE = 7, "No broker, or no AWS API, answered."
    IDENTITY = 8, "The identity's folder is missing or damaged."
    CREDENTIALS = 9, "AWS credentials are missing, wrong or expired."
    FORBIDDEN = 10, "The AWS credentials do not permit an operation."
    NO_STACK = 11, "The environment's stack, or a part of it, is not deployed."
    ENVIRONMENT = 12, "The environment is unknown, or belongs to another account."
    CONFLICT = 13, "The thing or its certificate is in a state that only a person may change."
    SERVICE = 14, "AWS answered with an error of another kind."
    REGISTRATION = 15, "Doctor: certificate, thing or policy in AWS IoT is not as it must be."
    RULE = 16, "Doctor: the topic rule does not pass the messages on."
    DELIVERY = 17, "Doctor: Firehose does not write the messages to the raw bucket."
    PARSER = 18, "Doctor: the parser does not parse the raw objects."
    TABLE = 19, "Doctor: the table is missing or wrong, or cannot be queried."
    PROBE = 20, "Doctor: the reading to follow was not sent, or did not arrive."
    SPOOL = 21, "The spool is damaged, full, or in use by another process."
    FILE = 22, "A file or folder cannot be read or written."
    INCOMPLETE = 23, "Something is left to do; stderr says what, and why."
    INCOMPATIBLE = 24, "A contract has changed in a way that is not compatible."
    DECLINED = 25, "The question was not answered with yes; nothing was changed."
    TOO_EXPENSIVE = 26, "The query may cost more than --max-cost; it was not run."
    UNHEALTHY = 28, "The pipeline needs attention; the first line says what to do."
    NOT_FOUND = 29, "There is no such message, or it was not found within the limits."
    INTERRUPTED = 130, "Interrupted with Ctrl-C."


class DeviceError(Exception):
    """An error that a person can fix; the command ends with ``status``.

    Attributes:
        message: What was expected and what was found.
        remedy: The command or sentence that fixes it; None if there is none.
    """

    status = ExitStatus.SERVICE

    def __init__(
        self, message: str, status: ExitStatus | None = None, *, remedy: str | None = None
    ) -> None:
        super().__init__(message if remedy is None else f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy
        if status is not None:
            self.status = status


class IdentityError(DeviceError):
    """The identity's folder is missing or broken."""

    status = ExitStatus.IDENTITY


class ConnectionFailed(DeviceError):  # noqa: N818  # reads as what happened
    """There is no MQTT connection, or it cannot be restored."""

    status = ExitStatus.CONNECTION_REFUSED


class ConnectionRefused(ConnectionFailed):
    """The broker refused the connection."""


class ConnectionDropped(ConnectionRefused):
    """The broker ended the connection. It may refuse this device or a message in flight.

    The broker may give no reason.
    """


class Unreachable(ConnectionFailed):
    """No broker answered."""

    status = ExitStatus.UNREACHABLE


class RequestFailed(DeviceError):  # noqa: N818  # reads as what happened
    """AWS IoT refused a request over MQTT, or did not answer it.

    Attributes:
        code: The error code of AWS IoT; None if it gave none.
    """

    status = ExitStatus.REFUSED
    code: str | None = None


class SpoolError(DeviceError):
    """The spool on disk is damaged, not a spool, or in use by another process."""

    status = ExitStatus.SPOOL


class SpoolInUse(SpoolError):  # noqa: N818  # reads as what happened
    """Another process of the same device has the spool open."""


class SpoolFull(SpoolError):  # noqa: N818  # reads as what happened
    """There is no room for the new reading; it was not stored."""


class AwsError(DeviceError):
    """An AWS API could not be used, or its answer is not what the command needs."""
