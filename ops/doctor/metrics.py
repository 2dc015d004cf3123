"""Recent metrics of CloudWatch."""

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ops.doctor.findings import Skipped

# The stack's alarms report a hop that is later than this.
LATE_SECONDS = 15 * 60

_HOUR = timedelta(hours=1)


class Clients(Protocol):
    """Makes the AWS clients of an environment."""

    def client(self, service: str) -> Any:
        """A client for ``service``."""


def last_hour(
    clients: Clients,
    namespace: str,
    name: str,
    dimensions: dict[str, str],
    statistic: str = "Sum",
    *,
    span: timedelta = _HOUR,
) -> float:
    """The sum or the maximum of a metric over the last hour, or over a shorter ``span``.

    Raises:
        Skipped: The metric has no value.
    """
    now = datetime.now(UTC)
    points = clients.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - span,
        EndTime=now,
        Period=round(span.total_seconds()),
        Statistics=[statistic],
    )["Datapoints"]
    values = [float(point[statistic]) for point in points]
    if not values:
        raise Skipped("no metrics of the last hour")
    return max(values) if statistic == "Maximum" else sum(values)
