"""What every bucket of the pipeline is, whatever it holds."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.acknowledgements import acknowledge


def private_bucket(
    scope: Construct,
    construct_id: str,
    *,
    retention: Duration,
    noncurrent_retention: Duration,
    removal_policy: RemovalPolicy,
    why_no_access_log: str,
) -> s3.Bucket:
    """Make a bucket that is private, versioned and encrypted, and takes TLS requests only.

    Args:
        retention: After this its objects are removed.
        noncurrent_retention: And what was overwritten or deleted, after this.
        removal_policy: DESTROY also empties it, with a helper function of the CDK.
        why_no_access_log: What the checks at synthesis are told.
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
            s3.LifecycleRule(
                expiration=retention,
                noncurrent_version_expiration=noncurrent_retention,
                abort_incomplete_multipart_upload_after=Duration.days(7),
            ),
            # S3 allows this beside an expiration only in a rule of its own.
            s3.LifecycleRule(expired_object_delete_marker=True),
        ],
    )
    acknowledge(bucket, "AwsSolutions-S1", why_no_access_log)
    return bucket
