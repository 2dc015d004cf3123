"""Errors of AWS IoT."""

from typing import Any, cast

from botocore.exceptions import ClientError


class NotFoundError(ClientError):
    def __init__(self, operation: str) -> None:
        error = {"Error": {"Code": "ResourceNotFoundException", "Message": "not found"}}
        super().__init__(cast("Any", error), operation)


class ConflictError(ClientError):
    def __init__(self, operation: str) -> None:
        error = {"Error": {"Code": "DeleteConflictException", "Message": "in use"}}
        super().__init__(cast("Any", error), operation)


class Exceptions:
    ResourceNotFoundException = NotFoundError
    DeleteConflictException = ConflictError
