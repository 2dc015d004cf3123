"""A bucket with the settings that every bucket of the pipeline shares."""

from collections.abc import Mapping

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.helpers.acknowledgements import acknowledge


def private_bucket(
    scope: Construct,
    construct_id: str,
    *,
    retention: Mapping[str, Duration],
    noncurrent_retention: Duration,
    removal_policy: RemovalPolicy,
    why_no_access_log: str,
) -> s3.Bucket:
    """Make a private, versioned, encrypted bucket that accepts requests over TLS 1.2 only.

    Args:
        retention: After how long objects expire, by the prefix of their keys; ``""`` for all.
        noncurrent_retention: Overwritten and deleted versions expire after this.
        removal_policy: DESTROY also empties the bucket, with a helper function of the CDK.
        why_no_access_log: Reason given to the checks at synthesis.
    """
    bucket = s3.Bucket(
        scope,
        construct_id,
        encryption=s3.BucketEncryption.S3_MANAGED,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        removal_policy=removal_policy,
        auto_delete_objects=removal_policy == RemovalPolicy.DESTROY,
        lifecycle_rules=[
            *(
                s3.LifecycleRule(prefix=prefix or None, expiration=expiration)
                for prefix, expiration in retention.items()
            ),
            # S3 allows the delete marker only in a rule without an expiration; CloudFormation
            # demands another action beside it.
            # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-s3-bucket-rule.html
            s3.LifecycleRule(
                expired_object_delete_marker=True,
                noncurrent_version_expiration=noncurrent_retention,
                abort_incomplete_multipart_upload_after=Duration.days(7),
            ),
        ],
    )
    acknowledge(bucket, "AwsSolutions-S1", why_no_access_log)
    return bucket
