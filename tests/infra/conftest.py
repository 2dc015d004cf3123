"""The templates of every environment, as app.py makes them, synthesized once."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template

import contracts
from stacks import config
from stacks.checks import add_checks
from stacks.pipeline_stack import PipelineStack

ROOT = Path(__file__).resolve().parent.parent.parent
CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]
ENVIRONMENTS = ("dev", "stage", "prod", "local")


def stack_of_block(
    environment: str, block: object, channels: Iterable[contracts.Contract] | None = None
) -> PipelineStack:
    """The stack of an environment with this block in cdk.json; of the project's own channels."""
    app = App(context=CONTEXT)
    add_checks(app)
    stack = PipelineStack(
        app,
        "Pipeline",
        config=config.load({environment: block}, environment),
        contracts=contracts.load_all() if channels is None else channels,
        # What is in the asset is for tests/infra/test_parser_asset.py.
        parser_code=lambda_.Code.from_asset(str(ROOT / "contracts")),
        rebuild_code=lambda_.Code.from_asset(str(ROOT / "contracts")),
        hook_code=lambda_.Code.from_asset(str(ROOT / "contracts")),
    )
    app.synth()  # raises on a finding
    return stack


@cache
def _stack(environment: str) -> PipelineStack:
    return stack_of_block(environment, CONTEXT["environments"][environment])


@cache
def _synthesized(environment: str) -> Template:
    return Template.from_stack(_stack(environment))


@pytest.fixture(params=ENVIRONMENTS)
def template(request: pytest.FixtureRequest) -> Template:
    """Each environment's template in turn."""
    return _synthesized(request.param)


@pytest.fixture
def template_of() -> Callable[[str], Template]:
    """One environment's template by name."""
    return _synthesized


@pytest.fixture
def stack_of() -> Callable[[str], PipelineStack]:
    """One environment's stack by name."""
    return _stack


@cache
def _watched() -> PipelineStack:
    block = {"silence_alarm_minutes": {"telemetry": 30}}
    channels = [
        replace(contract, expected_every=timedelta(minutes=10)) for contract in contracts.load_all()
    ]
    return stack_of_block("dev", block, channels)


@pytest.fixture
def watched() -> PipelineStack:
    """A stack that has every alarm that can be configured."""
    return _watched()


@pytest.fixture
def resources() -> Callable[[Template, str], list[dict[str, Any]]]:
    """The properties of all resources of a type."""

    def find(template: Template, type_: str) -> list[dict[str, Any]]:
        return [found["Properties"] for found in template.find_resources(type_).values()]

    return find
