"""The parser's work: errors, dead letters and backlog."""

from datetime import UTC, datetime, timedelta

from device import cli
from ops import parser_log
from ops.doctor import metrics, remedies
from ops.doctor.context import Context
from ops.doctor.findings import Failed


def waiting(context: Context) -> str:
    """The number of events that the function has not processed yet, in words."""
    count = context.deployed.events_in(context.deployed.queue_arn)
    return f"{cli.counted(count, 'event')} in the queue"


def errors(context: Context) -> str:
    """The function succeeds, perhaps after a retry."""
    found = _recent_errors(context)
    if found and context.deployed.events_in(context.deployed.queue_arn):
        raise Failed(
            f"the function fails; {waiting(context)}: {found[-1]}",
            "fix that error (configuration, permissions or code), then " + remedies.deploy(context),
        )
    if found:
        return f"{cli.counted(len(found), 'error')} in the last hour; no event waits any more"
    return "no error in the last hour"


def _recent_errors(context: Context) -> list[str]:
    """Errors in the function's log of the last hour, and after its last change."""
    function = context.deployed.function
    changed = datetime.fromisoformat(function["LastModified"])
    since = max(changed, datetime.now(UTC) - timedelta(hours=1))
    found = parser_log.errors(context.client("logs"), function, since)
    return [each.text for each in found]


def dead_letters(context: Context) -> str:
    """The dead-letter queue is empty."""
    arn = context.deployed.dead_letter_arn
    if arn is None:
        raise Failed("the queue has no dead-letter queue", remedies.deploy(context), blocks=False)
    count = context.deployed.events_in(arn)
    if count:
        raise Failed(
            f"the dead-letter queue holds {cli.counted(count, 'event')} of objects that could "
            "not be parsed",
            "fix what the function's log says about them, then "
            + remedies.for_channel(context, "ops.redrive"),
            blocks=False,
        )
    return "empty"


def backlog(context: Context) -> str:
    """No object waits long for the function."""
    name = {"QueueName": context.deployed.queue_name}
    age = metrics.last_hour(context, "AWS/SQS", "ApproximateAgeOfOldestMessage", name, "Maximum")
    if age > metrics.LATE_SECONDS:
        raise Failed(
            f"an object waited {age:.0f} s for the function within the last hour; "
            f"{waiting(context)}",
            f"raise parser_maximum_concurrency of {context.environment_name} in cdk.json, then "
            + remedies.deploy(context),
            blocks=False,
        )
    return f"no object waited longer than {age:.0f} s in the last hour"
