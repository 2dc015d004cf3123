"""Synthesize one environment's stack: ``cdk synth -c env=dev|stage|prod``."""

import sys

from aws_cdk import App
from aws_cdk import aws_lambda as lambda_

import contracts
from stacks import config as environments
from stacks import parser_asset
from stacks.checks import synthesize
from stacks.constructs.device_access import DevicePolicyError
from stacks.contract_warnings import warn_of_incompatible_contracts
from stacks.pipeline_stack import PipelineStack


def main() -> None:
    """Read the environment named by the context, and build its stack.

    Raises:
        ConfigError: The environment or its block in cdk.json is wrong.
        ContractError: A contract is outside the subset.
        DevicePolicyError: There are more channels than the device policy can name.
        AssetError: A function's packages cannot be installed.
    """
    synthesize(_build)


def _build(app: App) -> None:
    name = app.node.try_get_context("env")
    config = environments.load(
        app.node.try_get_context("environments"), "dev" if name is None else name
    )
    target = parser_asset.HOST if config.name == "local" else parser_asset.LAMBDA
    channels = contracts.load_all()
    stack = PipelineStack(
        app,
        "Pipeline",
        config=config,
        contracts=channels,
        parser_code=lambda_.Code.from_asset(str(parser_asset.build(parser_asset.PARSER, target))),
        rebuild_code=lambda_.Code.from_asset(str(parser_asset.build(parser_asset.REBUILD, target))),
        hook_code=lambda_.Code.from_asset(str(parser_asset.build(parser_asset.HOOK, target))),
    )
    warn_of_incompatible_contracts(stack, channels)


if __name__ == "__main__":
    try:
        main()
    except (
        environments.ConfigError,
        contracts.ContractError,
        DevicePolicyError,
        parser_asset.AssetError,
    ) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(f"error: cannot use {error.filename}: {error.strerror}")
