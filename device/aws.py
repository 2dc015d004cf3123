"""Access to one environment in AWS: its session, its stack and its broker.

Importing it needs boto3, and using it needs AWS credentials; publishing needs neither.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.session
from botocore import UNSIGNED, exceptions
from botocore.config import Config

from contracts import names
from device import environments, local_stack
from device.errors import AwsError, ExitStatus
from device.identity import PROJECT_ROOT

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient

LOCAL = local_stack.ENVIRONMENT

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# This stays within the quotas of AWS IoT; botocore retries calls that are throttled.
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#thing-limits
_THREADS = 8

_AMAZON_ROOT_CA = Path(__file__).with_name("amazon-root-ca.pem")

# Five quick attempts at most: an unreachable endpoint is reported within half a minute.
_CLIENT_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5}
)

_CREDENTIAL_ERRORS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
    exceptions.UnauthorizedSSOTokenError,
)

# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
_CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
# AWS uses the same codes when the clock is off; only the message tells the two cases apart.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
_CLOCK_CODES = {"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"}
_CLOCK_MESSAGES = ("Signature expired", "Signature not yet current")
_FORBIDDEN_CODES = {
    *("AccessDenied", "AccessDeniedException", "ForbiddenException"),
    *("OptInRequired", "UnauthorizedException", "UnauthorizedOperation"),
}

# The stack is there and complete; an update in progress leaves what devices need in place.
_READY = {
    "CREATE_COMPLETE",
    "IMPORT_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The address at which the environment's devices connect.

    Attributes:
        host: Host name of the MQTT endpoint.
        port: Port for MQTT over mutual TLS.
        ca_pem: The CA certificates that verify the broker, PEM.
    """

    host: str
    port: int
    ca_pem: bytes


@dataclass(frozen=True, slots=True)
class AwsEnvironment:
    """One environment, whose account was compared with the one in ``cdk.json``.

    Attributes:
        name: The environment's name in ``cdk.json``.
        session: Makes clients for the environment's account and region. For ``local`` they reach
            the emulator; no environment variable can change that.
        account: The account of the credentials, 12 digits.
        region: The region of the stack.
        root: The project's folder.
    """

    name: str
    session: boto3.Session
    account: str
    region: str
    root: Path

    def client(self, service: str) -> Any:
        """A client for ``service`` in the environment's account."""
        return self.session.client(service)  # type: ignore[call-overload]  # any service

    def check_stack(self) -> None:
        """Check that the environment is deployed.

        Raises:
            AwsError: The stack is missing or unusable, or could not be looked up.
        """
        stack_name = names.stack_name(self.name)
        with explained(self.name):
            cloudformation = self.session.client("cloudformation")
            try:
                stacks = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
            except exceptions.ClientError as error:
                if "does not exist" not in str(error):
                    raise
                stacks = []
        status = stacks[0]["StackStatus"] if stacks else "no such stack"
        if status not in _READY:
            raise AwsError(
                f"expected the stack {stack_name} in account {self.account}, {self.region}, "
                f"got {status}",
                ExitStatus.NO_STACK,
                remedy=f"run {deploy_command(self.name)}",
            )

    def broker(self) -> BrokerAddress:
        """Return the address at which devices connect.

        Raises:
            AwsError: The endpoint could not be looked up.
        """
        if self.name == LOCAL:
            return BrokerAddress(*local_stack.broker(self.root))
        with explained(self.name):
            answer = self.session.client("iot").describe_endpoint(endpointType="iot:Data-ATS")
        return BrokerAddress(answer["endpointAddress"], 8883, _AMAZON_ROOT_CA.read_bytes())


def listed(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """Yield every entry of a paginated operation, such as ``list_policies``.

    Args:
        client: A boto3 client.
        operation: The operation's name in boto3.
        key: The key of the entries in a page.
        arguments: Arguments of the operation.
    """
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page.get(key, ())  # S3 leaves the key out if there are no entries


def stack_outputs(cloudformation: Any, environment: str) -> dict[str, str]:
    """The outputs of the deployed stack, by name."""
    found = cloudformation.describe_stacks(StackName=names.stack_name(environment))["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}


def in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Call ``function`` for each item, some at the same time; return the results in order.

    After an error or Ctrl-C no further call begins.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(function, items))


@contextmanager
def part_of_stack(iot: "IoTClient", environment: str, kind: str, name: str) -> Iterator[None]:
    """Use a resource of AWS IoT that the stack of ``environment`` makes.

    Raises:
        AwsError: The resource does not exist.
    """
    try:
        yield
    except iot.exceptions.ResourceNotFoundException:
        raise AwsError(
            f"expected the {kind} {name}, which the stack makes, got no such {kind}",
            ExitStatus.NO_STACK,
            remedy=f"run {deploy_command(environment)}",
        ) from None


def deploy_command(environment: str) -> str:
    """The command that deploys ``environment``."""
    return "python -m local up" if environment == LOCAL else f"cdk deploy -c env={environment}"


def session_for(environment: str, root: Path = PROJECT_ROOT) -> AwsEnvironment:
    """Open ``environment``. ``cdk.json`` may name its account and region.

    Raises:
        AwsError: The environment is unknown, its emulator is not running, the credentials are
            missing or refused, or they belong to another account than the configured one.
    """
    settings = environments.settings_of(environment, root)
    with explained(environment):
        session = _session(environment, settings, root)
        account = session.client("sts").get_caller_identity()["Account"]
    expected = settings.get("account")
    if expected and expected != account:
        raise AwsError(
            f"expected credentials of account {expected} for {environment}, got account {account}",
            ExitStatus.ENVIRONMENT,
            remedy=f"set AWS_PROFILE to a profile of account {expected}",
        )
    return AwsEnvironment(environment, session, account, session.region_name, root)


def time_of(environment: str, root: Path = PROJECT_ROOT) -> datetime | None:
    """Return the time by AWS's clock; None if its answer has no date. Needs no credentials.

    AWS refuses requests that were signed by a clock that is off. So this request is not signed;
    AWS's refusal contains the time.

    Raises:
        AwsError: The environment is unknown, or AWS is out of reach.
    """
    config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    with explained(environment):
        sts = _session(environment, environments.settings_of(environment, root), root).client(
            "sts", config=config
        )
        try:
            headers = sts.get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]
        except exceptions.ClientError as refusal:
            headers = refusal.response["ResponseMetadata"]["HTTPHeaders"]
    date = headers.get("date")
    return None if date is None else parsedate_to_datetime(date)


def _session(environment: str, settings: dict[str, Any], root: Path) -> boto3.Session:
    session = (
        local_stack.session(_botocore_session(), root)
        if environment == LOCAL
        else boto3.Session(
            botocore_session=_botocore_session(),
            # boto3 itself reads AWS_DEFAULT_REGION and the profile, but not AWS_REGION.
            region_name=settings.get("region") or os.environ.get("AWS_REGION") or None,
        )
    )
    if not session.region_name:
        raise AwsError(
            f"expected a region for {environment}, got none",
            ExitStatus.ENVIRONMENT,
            remedy=f"set context.environments.{environment}.region in cdk.json, or AWS_REGION",
        )
    return session


def _botocore_session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.set_default_client_config(_CLIENT_CONFIG)
    return session


@contextmanager
def explained(environment: str) -> Iterator[None]:
    """Turn an error of botocore into one line that says what to do.

    Raises:
        AwsError: In place of any of botocore's exceptions.
    """
    try:
        yield
    except _CREDENTIAL_ERRORS as error:
        raise AwsError(
            f"expected AWS credentials for {environment}, got: {_line(error)}",
            ExitStatus.CREDENTIALS,
            remedy="run aws sso login or aws configure, or set AWS_PROFILE",
        ) from None
    except exceptions.ClientError as error:
        raise _explained_answer(environment, error) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise _unreachable(environment, error) from None
    except exceptions.BotoCoreError as error:
        raise AwsError(f"AWS could not be used for {environment}: {_line(error)}") from None
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):  # botocore has no class for this one
            raise
        raise AwsError(
            f"AWS could not be used for {environment}: {_line(error)}",
            ExitStatus.ENVIRONMENT,
            remedy="correct AWS_ENDPOINT_URL",
        ) from None


def _explained_answer(environment: str, error: exceptions.ClientError) -> AwsError:
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "") or code
    if code in _CLOCK_CODES or message.startswith(_CLOCK_MESSAGES):
        return AwsError(
            f"expected this machine's clock to agree with AWS's, got {code}: {_line(message)}",
            ExitStatus.ENVIRONMENT,
            remedy="set the clock",
        )
    if code in _CREDENTIAL_CODES:
        remedy = (
            deploy_command(LOCAL) if environment == LOCAL else "aws sso login, or set AWS_PROFILE"
        )
        return AwsError(
            f"expected valid AWS credentials for {environment}, got {code}: {_line(message)}",
            ExitStatus.CREDENTIALS,
            remedy=f"run {remedy}",
        )
    if code in _FORBIDDEN_CODES:
        return AwsError(
            f"the AWS credentials do not permit {error.operation_name}: {_line(message)}",
            ExitStatus.FORBIDDEN,
            remedy="use credentials that permit it, or have the permission granted",
        )
    return AwsError(f"{error.operation_name} in {environment}: {code}: {_line(message)}")


def _unreachable(environment: str, error: Exception) -> AwsError:
    remedy = (
        "run python -m local status"
        if environment == LOCAL
        else "check the network, and the region in cdk.json"
    )
    return AwsError(f"AWS is out of reach: {_line(error)}", ExitStatus.UNREACHABLE, remedy=remedy)


def _line(text: object) -> str:
    return " ".join(str(text).split())
