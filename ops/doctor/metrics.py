"""Recent metrics of CloudWatch."""

from datetime import UTC, datetime, timedelta

from ops.doctor.context import Context
from ops.doctor.findings import Skipped

# The stack's alarms report a hop that is later than this.
LATE_SECONDS = 15 * 60


def last_hour(
    context: Context,
    namespace: str,
    name: str,
    dimensions: dict[str, str],
    statistic: str = "Sum",
) -> float:
    """The sum or the maximum of a metric over the last hour.

    Raises:
        Skipped: The metric has no value.
    """
    now = datetime.now(UTC)
    points = context.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now,
        Period=3600,
        Statistics=[statistic],
    )["Datapoints"]
    values = [float(point[statistic]) for point in points]
    if not values:
        raise Skipped("no metrics of the last hour")
    return max(values) if statistic == "Maximum" else sum(values)
