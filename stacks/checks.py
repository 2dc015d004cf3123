"""The checks that every synthesis runs: a finding ends it."""

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks
from cdk_preflight import Preflight


def add_checks(app: App) -> None:
    """Check the templates of ``app`` when it is synthesized.

    cdk-nag's AwsSolutions pack finds insecure settings, which need a written reason
    (stacks/helpers/acknowledgements.py). cdk-preflight finds what AWS would refuse during the
    deployment.
    """
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    Preflight.apply(app)
