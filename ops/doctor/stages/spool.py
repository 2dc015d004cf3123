"""The readings that wait on this machine."""

from device import cli
from device.errors import ExitStatus, SpoolInUse
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed


def readings(context: Context) -> str:
    """No reading waits on this machine without a publisher that sends it."""
    try:
        contents = context.spool_contents()
    except SpoolInUse:
        return "a publisher is at work"
    if contents is None:
        return "no publisher has left anything"
    if contents.waiting:
        refused = f", {contents.refused} of them refused by the broker" if contents.refused else ""
        customer = "" if context.customer is None else f" --customer {context.customer}"
        verb = "is" if contents.waiting == 1 else "are"
        raise Failed(
            f"{cli.counted(contents.waiting, 'reading')} of an earlier run {verb} still here"
            f"{refused}",
            f"run python -m device.publish --env {context.environment_name} --thing "
            f"{context.thing_name}{customer} --file /dev/null",  # sends nothing new
        )
    return "empty"


STAGE = Stage("spool", ExitStatus.SPOOL, {"readings": readings})
