"""ARNs of AWS IoT resources."""

from aws_cdk import ArnFormat, Stack
from constructs import Construct


def iot_arn(scope: Construct, resource: str, name: str) -> str:
    """The ARN of ``{resource}/{name}`` in the account and region of ``scope``'s stack.

    See https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
    """
    return Stack.of(scope).format_arn(
        service="iot",
        resource=resource,
        resource_name=name,
        arn_format=ArnFormat.SLASH_RESOURCE_NAME,
    )
