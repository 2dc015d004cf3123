"""The parser: from the raw bucket's notification to the function."""

import json
from datetime import datetime

from device import cli
from device.errors import ExitStatus
from ops.doctor import remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed
from ops.doctor.stages import parser_work
from ops.doctor.stages.parser_work import waiting


def notification(context: Context) -> str:
    """The raw bucket notifies a queue of each new object."""
    if context.deployed.queue_arn is None:
        raise Failed(
            f"bucket {context.deployed.raw_bucket} notifies no queue of new objects under "
            f"raw/{context.channel}/",
            remedies.deploy(context),
        )
    return f"to {context.deployed.queue_name}"


def queue(context: Context) -> str:
    """The queue accepts events from the bucket."""
    sqs = context.client("sqs")
    try:
        policy = json.loads(context.deployed.queue.get("Policy", '{"Statement": []}'))
    except sqs.exceptions.QueueDoesNotExist:
        raise Failed(
            "the queue that the bucket notifies does not exist", remedies.deploy(context)
        ) from None
    if not any(
        statement["Effect"] == "Allow"
        and "s3.amazonaws.com" in json.dumps(statement["Principal"])
        and "sqs:SendMessage" in json.dumps(statement["Action"])
        for statement in policy["Statement"]
    ):
        raise Failed("the queue's policy does not let S3 send to it", remedies.deploy(context))
    return f"accepts events from S3; {waiting(context)}"


def trigger(context: Context) -> str:
    """The queue triggers the function."""
    found = context.deployed.trigger
    if found is None:
        raise Failed("the queue triggers no function", remedies.deploy(context))
    if found["State"] not in {"Enabled", "Enabling", "Updating"}:
        enable = f"lambda update-event-source-mapping --enabled --uuid {found['UUID']}"
        raise Failed(
            f"the function's trigger is {found['State']}; {waiting(context)}",
            remedies.command(context, enable),
        )
    return str(found["State"])


def function(context: Context) -> str:
    """The function is there and can run."""
    found = context.deployed.function
    for key, good in (("State", {"Active", "Inactive"}), ("LastUpdateStatus", {"Successful"})):
        # A function without calls for weeks is Inactive, and wakes up when it is called.
        if found.get(key, "Successful") not in {*good, "Pending", "InProgress"}:
            reason = found.get(f"{key}Reason", "no reason given")
            raise Failed(
                f"the function's {key} is {found[key]}: {reason}", remedies.deploy(context)
            )
    return f"Active, changed {cli.utc(datetime.fromisoformat(found['LastModified']))}"


def concurrency(context: Context) -> str:
    """Reserved concurrency does not stop the function."""
    name = context.deployed.function["FunctionName"]
    answer = context.client("lambda").get_function_concurrency(FunctionName=name)
    reserved = answer.get("ReservedConcurrentExecutions")
    if reserved == 0:
        raise Failed(
            "the function's reserved concurrency is 0: it never runs",
            remedies.command(context, f"lambda delete-function-concurrency --function-name {name}"),
        )
    return "nothing reserved" if reserved is None else f"{reserved} reserved"


STAGE = Stage(
    "parser",
    ExitStatus.PARSER,
    {
        "notification": notification,
        "queue": queue,
        "trigger": trigger,
        "function": function,
        "concurrency": concurrency,
        "errors": parser_work.errors,
        "dead letters": parser_work.dead_letters,
        "backlog": parser_work.backlog,
    },
    needs=("environment",),
)
