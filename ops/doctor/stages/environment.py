"""The environment: clock, credentials, stack, and the identity's account."""

from datetime import timedelta

from contracts import names
from device import aws, cli
from device.errors import AwsError, ExitStatus
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed, Skipped

# AWS refuses requests whose clock is further off.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (RequestTimeTooSkewed)
_CLOCK_TOLERANCE = timedelta(minutes=5)


def clock(context: Context) -> str:
    """This machine's clock agrees with AWS's.

    Runs first: AWS rejects signed requests when the clock is off.
    """
    try:
        theirs = aws.time_of(context.environment_name, context.root)
    except AwsError:
        raise Skipped("AWS does not answer") from None  # the next check says why
    if theirs is None:
        raise Skipped("the endpoint's answer has no date")
    ours = context.clock()
    if abs(ours - theirs) > _CLOCK_TOLERANCE:
        raise Failed(
            f"this machine's clock says {cli.utc(ours)}, AWS's {cli.utc(theirs)}",
            "set this machine's clock",
        )
    return "agrees with AWS"


def account(context: Context) -> str:
    """The credentials are of the environment's account and region."""
    context.environment = aws.session_for(context.environment_name, context.root)
    return f"{context.environment.account}, {context.environment.region}"


def stack(context: Context) -> str:
    """The environment is deployed."""
    context.cloud.check_stack()
    return names.stack_name(context.environment_name)


def owner(context: Context) -> str:
    """The identity is of this account and region."""
    expected = f"account {context.cloud.account}, {context.cloud.region}"
    arn = context.device.certificate_arn
    region, account_ = ([*arn.split(":"), "", "", "", "", ""])[3:5]
    found = f"account {account_}, {region}"
    if found != expected:
        raise Failed(
            f"the identity is of {found if account_ else arn}, the environment of {expected}",
            f"use the identity's account, or move {context.folder} away and provision again",
        )
    return "the identity is of this account"


STAGE = Stage(
    "environment",
    ExitStatus.ENVIRONMENT,
    {"clock": clock, "account": account, "stack": stack, "owner": owner},
)
