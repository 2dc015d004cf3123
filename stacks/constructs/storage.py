"""Storage: the raw bucket, which is the truth, and the parsed one, which can be made again."""

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.helpers.private_bucket import private_bucket

# Long enough to notice that an object was overwritten or deleted by mistake.
_NONCURRENT_RETENTION = Duration.days(30)


class Storage(Construct):
    """Two private, versioned, encrypted buckets that take TLS requests only.

    Args:
        raw_retention: How long raw batches, and what could not be delivered, are kept.
        parsed_retention: How long parsed rows and rejected lines are kept.
        daily_retention: How long daily objects and their manifests are kept.
        removal_policy: DESTROY also empties the buckets, with a helper function of the CDK.

    Attributes:
        raw: What devices sent, as they sent it: ``raw/``, ``failed/``, ``undelivered/``.
        parsed: What was made of it: ``parsed/``, ``rejected/``, ``daily/``, ``manifests/``.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        raw_retention: Duration,
        parsed_retention: Duration,
        daily_retention: Duration,
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, construct_id)
        self.raw = _bucket(self, "Raw", {"": raw_retention}, removal_policy)
        retention = {
            "parsed/": parsed_retention,
            "rejected/": parsed_retention,
            "daily/": daily_retention,
            "manifests/": daily_retention,
        }
        self.parsed = _bucket(self, "Parsed", retention, removal_policy)
        self._notifications: list[s3.CfnBucket.QueueConfigurationProperty] = []

    def notify_of_raw_objects(self, queue: sqs.Queue, *, prefix: str) -> None:
        """Send an event to ``queue`` for each object created under ``prefix``.

        The bucket's own property, not ``add_event_notification``: that one deploys a helper
        function, with a managed policy, to set it.
        """
        self._notifications.append(
            s3.CfnBucket.QueueConfigurationProperty(
                event="s3:ObjectCreated:*",
                queue=queue.queue_arn,
                filter=s3.CfnBucket.NotificationFilterProperty(
                    s3_key=s3.CfnBucket.S3KeyFilterProperty(
                        rules=[s3.CfnBucket.FilterRuleProperty(name="prefix", value=prefix)]
                    )
                ),
            )
        )
        raw = self.raw.node.default_child
        assert isinstance(raw, s3.CfnBucket)  # noqa: S101  # for the type checker: an L2 made it
        raw.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            queue_configurations=self._notifications
        )
        # S3 tries the queue out when the bucket is made, so its policy must be there.
        raw.node.add_dependency(queue.node.find_child("Policy"))


def _bucket(
    scope: Construct,
    construct_id: str,
    retention: Mapping[str, Duration],
    removal_policy: RemovalPolicy,
) -> s3.Bucket:
    return private_bucket(
        scope,
        construct_id,
        retention=retention,
        noncurrent_retention=_NONCURRENT_RETENTION,
        removal_policy=removal_policy,
        why_no_access_log=(
            "Only this stack's roles have access; CloudTrail data events record it where wanted."
        ),
    )
