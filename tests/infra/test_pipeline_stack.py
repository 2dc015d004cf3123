"""What the whole template promises, in every environment."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cfnlint.api
import cfnlint.config
import pytest
from aws_cdk import App, CfnResource, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template

import contracts
from contracts import names
from stacks import config
from stacks.checks import add_checks
from stacks.pipeline_stack import PipelineStack
from tests.infra.conftest import CONTEXT, ENVIRONMENTS, ROOT

Resources = Callable[[Template, str], list[dict[str, Any]]]


def template_with(block: dict[str, Any], *channels: str, environment: str = "dev") -> Template:
    document = (ROOT / "contracts" / "telemetry.json").read_bytes()
    app = App()
    stack = PipelineStack(
        app,
        "Pipeline",
        config=config.load({environment: block}, environment),
        contracts=[contracts.parse(channel, document) for channel in channels],
        parser_code=lambda_.Code.from_asset(str(ROOT / "contracts")),
        rebuild_code=lambda_.Code.from_asset(str(ROOT / "contracts")),
        hook_code=lambda_.Code.from_asset(str(ROOT / "contracts")),
    )
    return Template.from_stack(stack)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_cfn_lint_finds_nothing(
    environment: str, template_of: Callable[[str], Template], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where .cfnlintrc.yaml is
    settings = cfnlint.config.ManualArgs(ignore_checks=["W3005"])
    found = cfnlint.api.lint(json.dumps(template_of(environment).to_json()), config=settings)
    assert [str(match) for match in found] == []


@pytest.fixture
def checked() -> Stack:
    """An empty stack in an app with the project's settings and checks."""
    app = App(context=CONTEXT)
    add_checks(app)
    return Stack(app, "Stack")


def report_of(stack: Stack) -> str:
    """What synthesis says when it ends with findings."""
    with pytest.raises(RuntimeError, match="ValidationFailed") as raised:
        App.of(stack).synth()  # type: ignore[union-attr]  # it was made in an app
    return str(raised.value)


def test_an_insecure_setting_without_a_written_reason_ends_synthesis(
    checked: Stack,
) -> None:
    s3.Bucket(checked, "Careless")
    assert "AwsSolutions-S10" in report_of(checked)


@pytest.mark.parametrize(
    ("type_", "properties", "finding"),
    [
        pytest.param(
            "AWS::SQS::Queue",
            {"QueueName": "events.fifo"},
            "pf-sqs-fifo-name-suffix",
            id="what only the service knows",
        ),
        pytest.param(
            "AWS::SQS::Queue",
            {"DelaySeconds": 901},
            "F3034",
            id="what CloudFormation's schema knows",
        ),
    ],
)
def test_a_template_that_aws_would_refuse_ends_synthesis(
    type_: str,
    properties: dict[str, Any],
    finding: str,
    checked: Stack,
) -> None:
    CfnResource(checked, "Refused", type=type_, properties=properties)
    assert finding in report_of(checked)


@pytest.mark.parametrize("environment", ["stage", "prod", "local"])
def test_where_data_is_retained_there_is_no_function_but_ours(
    environment: str, template_of: Callable[[str], Template], resources: Resources
) -> None:
    template = template_of(environment)
    functions = resources(template, "AWS::Lambda::Function")
    assert sorted(function["Handler"] for function in functions) == [
        "provisioning_hook.handler.handler",
        "telemetry_parser.handler.handler",
        "telemetry_rebuild.handler.handler",
    ]
    assert not [
        type_
        for type_ in (r["Type"] for r in template.to_json()["Resources"].values())
        if type_.startswith("Custom::")
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_only_what_outsiders_must_know_has_a_physical_name(
    environment: str, template_of: Callable[[str], Template]
) -> None:
    named = {
        (resource["Type"].rpartition("::")[2], value)
        for resource in template_of(environment).to_json()["Resources"].values()
        for key, value in resource.get("Properties", {}).items()
        if key
        in {
            *("BucketName", "QueueName", "FunctionName", "RoleName", "DeliveryStreamName"),
            *("LogGroupName", "TopicName", "AlarmName", "RuleName", "ThingGroupName"),
            *("TemplateName", "StateMachineName"),
        }
        and isinstance(value, str)
    }
    assert named == {
        ("TopicRule", names.rule_name(environment, "telemetry")),
        ("ThingGroup", names.thing_group_name(environment)),
        ("ProvisioningTemplate", names.provisioning_template_name(environment)),
    }


@pytest.mark.parametrize(
    ("environment", "protected"), [("dev", False), ("stage", True), ("prod", True)]
)
def test_a_stack_whose_data_must_survive_cannot_be_deleted_by_mistake(
    environment: str, protected: bool, stack_of: Callable[[str], PipelineStack]
) -> None:
    assert bool(stack_of(environment).termination_protection) is protected


def test_every_contract_gets_its_own_pipeline(resources: Resources) -> None:
    template = template_with({}, "telemetry", "events")
    rules = resources(template, "AWS::IoT::TopicRule")
    assert {rule["RuleName"] for rule in rules} == {"dev_telemetry", "dev_events"}
    tables = {table["TableInput"]["Name"] for table in resources(template, "AWS::Glue::Table")}
    assert tables == {
        channel + suffix
        for channel in ("telemetry", "events")
        for suffix in ("", "_daily", "_rejected")
    }
    notified = [
        queue["Filter"]["S3Key"]["Rules"][0]["Value"]
        for bucket in resources(template, "AWS::S3::Bucket")
        for queue in bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", [])
    ]
    assert sorted(notified) == ["raw/events/", "raw/telemetry/"]


@pytest.mark.parametrize("region", ["mx-central-1", "eusc-de-east-1", "us-gov-west-1"])
def test_a_region_that_the_cdk_does_not_know_can_be_deployed_to(region: str) -> None:
    template = template_with({"region": region}, "telemetry")
    template.resource_count_is("AWS::KinesisFirehose::DeliveryStream", 1)


def test_more_channels_than_the_device_policy_holds_end_synthesis() -> None:
    with pytest.raises(ValueError, match="at most 2048 characters"):
        template_with({}, *(f"channel_{number}" for number in range(20)))


def test_every_taggable_resource_carries_the_environment_and_the_configured_tags() -> None:
    template = template_with({"tags": {"team": "fleet"}}, "telemetry")
    template.has_resource_properties(
        "AWS::SQS::Queue",
        {
            "Tags": Match.array_with(
                [{"Key": "environment", "Value": "dev"}, {"Key": "team", "Value": "fleet"}]
            )
        },
    )


def run_app(root: Path, out: Path, environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(root / "app.py")],
        env={
            "PATH": str(Path(sys.executable).parent),
            "PYTHONPATH": str(root),
            "CDK_CONTEXT_JSON": json.dumps({**CONTEXT, "env": environment}),
            "CDK_OUTDIR": str(out),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("environment", ["production", ""])
def test_the_app_says_in_one_line_what_is_wrong_with_the_environment(
    environment: str, tmp_path: Path
) -> None:
    done = run_app(ROOT, tmp_path, environment)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"error: -c env={environment}: expected one of the environments in cdk.json: "
        "dev, local, prod, stage"
    )


def test_the_app_says_in_one_line_which_folder_it_cannot_write(tmp_path: Path) -> None:
    for name in ("app.py", "stacks", "contracts", "lambda"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / ".build").write_text("a file where the folder of assets belongs")
    done = run_app(tmp_path, tmp_path / "out", "dev")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot use {tmp_path / '.build'}")
    assert done.stderr.count("\n") == 1
