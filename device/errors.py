"""How the commands fail: one line for a person, one exit status for a program.

DeviceError                 what a person can fix; carries an ExitStatus
├── IdentityError           the identity's folder is missing or broken
├── ConnectionFailed        no MQTT connection, or it is lost for good
│   ├── ConnectionRefused   the broker answered, and said no
│   │   └── ConnectionDropped   it ended the connection: it refuses the device or a message
│   └── Unreachable         no broker answered
├── RequestFailed           the broker accepted a request, and the service did not do it
├── SpoolError              the spool on disk is damaged, foreign or in use
│   ├── SpoolInUse          another process of the same device has it
│   └── SpoolFull           there is no room for another reading
└── AwsError                an AWS API could not be used
"""

from enum import IntEnum
from typing import Self


class ExitStatus(IntEnum):
    """The exit status of every command; 1 is left to Python, for a defect of ours.

    Where several apply, the one later in this order of gravity counts: ``INVALID``,
    ``REFUSED``, ``UNKNOWN``, then the one that ended the command early.

    Attributes:
        meaning: For help texts.
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
    INTERRUPTED = 130, "Interrupted with Ctrl-C."


class DeviceError(Exception):
    """What went wrong and what to do; the command ends with ``status``.

    Attributes:
        message: What was expected and what was found.
        remedy: The command or sentence that fixes it; None if there is none to name.
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
    """There is no MQTT connection, or it is lost for good."""

    status = ExitStatus.CONNECTION_REFUSED


class ConnectionRefused(ConnectionFailed):
    """The broker answered, and said no."""


class ConnectionDropped(ConnectionRefused):
    """The broker ended the connection: it refuses this device or a message in flight.

    The broker may give no reason.
    """


class Unreachable(ConnectionFailed):
    """No broker answered."""

    status = ExitStatus.UNREACHABLE


class RequestFailed(DeviceError):  # noqa: N818  # reads as what happened
    """A service of AWS IoT did not do what it was asked over MQTT, or did not answer.

    Attributes:
        code: The service's own code of the error; None if it gave none.
    """

    status = ExitStatus.REFUSED
    code: str | None = None


class SpoolError(DeviceError):
    """The spool on disk is damaged, not a spool, or in use by another process."""

    status = ExitStatus.SPOOL


class SpoolInUse(SpoolError):  # noqa: N818  # reads as what happened
    """Another process of the same device has the spool open."""


class SpoolFull(SpoolError):  # noqa: N818  # reads as what happened
    """There is no room for another reading, which was not taken."""


class AwsError(DeviceError):
    """An AWS API could not be used, or its answer is not what the command needs."""
