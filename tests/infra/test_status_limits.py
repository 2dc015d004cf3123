"""ops.status judges by the limits of the stack's alarms, and knows which alarms mean a loss."""

from collections.abc import Callable

from aws_cdk.assertions import Template

from ops.doctor.metrics import LATE_SECONDS
from ops.status.verdict import LOSSES, REJECTED_PERCENT
from tests.infra.test_monitoring import Resources, alarms_of


def test_status_and_the_alarms_have_the_same_limits(
    template_of: Callable[[str], Template], resources: Resources
) -> None:
    alarms = alarms_of(template_of("dev"), resources)
    rejected = alarms["telemetry-dev", "ReadingsRejectedPercent"]
    assert rejected["Threshold"] == REJECTED_PERCENT
    assert alarms["AWS/SQS", "ApproximateAgeOfOldestMessage"]["Threshold"] == LATE_SECONDS


def test_each_alarm_that_status_takes_for_a_loss_exists(
    template_of: Callable[[str], Template],
) -> None:
    names = template_of("dev").find_resources("AWS::CloudWatch::Alarm")
    for loss in LOSSES:
        assert any(loss in name for name in names), loss
