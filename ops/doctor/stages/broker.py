"""Connect to the broker and publish a message."""

from device.delivery import mqtt
from device.errors import ExitStatus
from ops.doctor import remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed, Skipped


def connect(context: Context) -> str:
    """The broker accepts the connection."""
    _spare_publisher(context)
    with mqtt.Connection(context.identity):
        return "the broker accepted the connection"


def publish(context: Context) -> str:
    """The broker accepts a message, to a topic that no rule reads."""
    _spare_publisher(context)
    where = context.device.proof_topic
    with mqtt.Connection(context.identity) as connection:
        delivery = connection.publish(where, b"").result()
    if delivery.outcome is not mqtt.PublishOutcome.ACKNOWLEDGED:
        raise Failed(
            f"the broker did not accept a message to {where}: {delivery.reason}",
            remedies.fix_policy(context),
        )
    return f"the broker accepted a message to {where}, which no rule reads"


def _spare_publisher(context: Context) -> None:
    """Skip the check if it would disconnect a publisher: the broker keeps the newest connection."""
    if context.publisher_is_at_work and not context.take_over:
        raise Skipped(
            "a publisher uses this identity and would be disconnected; --take-over connects anyway"
        )


STAGE = Stage(
    "broker",
    ExitStatus.CONNECTION_REFUSED,
    {"connect": connect, "publish": publish},
    needs=("identity", "network", "registration"),
)
