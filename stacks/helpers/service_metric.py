"""A metric that one of our functions writes with Powertools."""

from collections.abc import Mapping

from aws_cdk import aws_cloudwatch as cloudwatch


def service_metric(name: str, source: Mapping[str, str]) -> cloudwatch.Metric:
    """The sum of the metric ``name``.

    Args:
        name: As the function's ``report`` module has it.
        source: ``namespace`` and ``service``, as the function's environment has them.
    """
    return cloudwatch.Metric(
        namespace=source["namespace"],
        metric_name=name,
        dimensions_map={"service": source["service"]},
        statistic="Sum",
    )
