"""The commands that fix what a check found."""

from device import aws, identity
from ops.doctor.context import Context


def command(context: Context, arguments: str) -> str:
    """A command of the AWS CLI that reaches the environment."""
    local = "AWS_CONFIG_FILE=.local/aws/config AWS_PROFILE=local "
    return f"run {local if context.environment_name == aws.LOCAL else ''}aws {arguments}"


def ours(context: Context, module: str) -> str:
    """A command of this project for this identity."""
    options = identity.options(context.environment_name, context.thing_name, context.customer)
    return f"run python -m {module} {options}"


def for_channel(context: Context, module: str) -> str:
    """A command of this project for the channel."""
    return f"run python -m {module} --env {context.environment_name} --channel {context.channel}"


def provision(context: Context) -> str:
    """The command that repairs the identity."""
    return ours(context, "device.provision")


def deploy(context: Context) -> str:
    """The command that repairs what is deployed; for the local stack, a new start."""
    if context.environment_name == aws.LOCAL:
        return "run python -m local down && python -m local up --detach"
    return f"run {aws.deploy_command(context.environment_name)}"


def fix_policy(context: Context) -> str:
    """The command that repairs the identity's policy: the stack's or the customer's."""
    return deploy(context) if context.customer is None else provision(context)


def inspect(context: Context, what: str) -> str:
    """Where to find more: in ``what`` on AWS, in log files for the local stack."""
    if context.environment_name == aws.LOCAL:
        return "run python -m local status, and read the files in .local/logs"
    return f"read {what}"
