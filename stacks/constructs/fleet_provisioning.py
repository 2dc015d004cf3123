"""How devices register by themselves: with a claim certificate that many of them share."""

import json

from aws_cdk import ArnFormat, Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from contracts import names
from stacks.acknowledgements import acknowledge_wildcards
from stacks.iot_arn import iot_arn

# AWS IoT waits this long for a hook's answer.
# https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
_HOOK_TIMEOUT = Duration.seconds(5)


class FleetProvisioning(Construct):
    """Fleet provisioning by claim: a template, the hook that it asks, and a policy for claims.

    A claim certificate can have a certificate signed and ask for it to be registered as a thing
    of this environment; it can do nothing else, and never connect as a device. The hook refuses a
    name that a device already has.

    Args:
        environment: First part of the names of policy and template.
        device_policy_name: What a registered device may do.
        thing_group_name: What a registered thing belongs to.
        hook_code: The hook's asset.

    See https://docs.aws.amazon.com/iot/latest/developerguide/provision-wo-cert.html
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: str,
        device_policy_name: str,
        thing_group_name: str,
        hook_code: lambda_.Code,
    ) -> None:
        super().__init__(scope, construct_id)
        template_name = names.provisioning_template_name(environment)
        template_arn = iot_arn(self, "provisioningtemplate", template_name)
        iot.CfnPolicy(
            self,
            "ClaimPolicy",
            policy_name=names.claim_policy_name(environment),
            policy_document=self._claim_policy(environment),
        )
        hook = self._hook(hook_code)
        permission = lambda_.CfnPermission(
            self,
            "HookPermission",
            action="lambda:InvokeFunction",
            function_name=hook.function_arn,
            principal="iot.amazonaws.com",
            source_account=Aws.ACCOUNT_ID,
            source_arn=template_arn,
        )
        role, policy = self._role(device_policy_name, thing_group_name)
        template = iot.CfnProvisioningTemplate(
            self,
            "Template",
            template_name=template_name,
            description=f"Registers devices of {environment} by claim",
            enabled=True,
            provisioning_role_arn=role.role_arn,
            pre_provisioning_hook=iot.CfnProvisioningTemplate.ProvisioningHookProperty(
                payload_version="2020-04-01", target_arn=hook.function_arn
            ),
            template_body=json.dumps(_template_body(device_policy_name, thing_group_name)),
        )
        # AWS IoT looks at once whether it may ask the hook.
        template.node.add_dependency(permission, policy)

    def _claim_policy(self, environment: str) -> dict[str, object]:
        requests = [names.SIGN_TOPIC, names.register_topic(environment)]
        answers = [f"{topic}/{kind}" for topic in requests for kind in ("accepted", "rejected")]
        return {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": action, "Resource": resource}
                for action, resource in (
                    (
                        "iot:Connect",
                        iot_arn(self, "client", names.claim_client_id(environment, "*")),
                    ),
                    ("iot:Publish", [iot_arn(self, "topic", topic) for topic in requests]),
                    ("iot:Receive", [iot_arn(self, "topic", topic) for topic in answers]),
                    ("iot:Subscribe", [iot_arn(self, "topicfilter", topic) for topic in answers]),
                )
            ],
        }

    def _hook(self, code: lambda_.Code) -> lambda_.Function:
        log_group = logs.LogGroup(
            self,
            "HookLogs",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(self, "HookRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        # Written out: the managed policy gives more than is needed.
        policy = iam.Policy(
            self,
            "HookPolicy",
            roles=[role],
            statements=[
                iam.PolicyStatement(
                    actions=["iot:ListThingPrincipals"], resources=[iot_arn(self, "thing", "*")]
                ),
                iam.PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[log_group.log_group_arn],
                ),
            ],
        )
        acknowledge_wildcards(policy, "A device may ask for any name.")
        function = lambda_.Function(
            self,
            "Hook",
            description="Says whether a device may register under the name it asks for",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler="provisioning_hook.handler.handler",
            code=code,
            role=role.without_policy_updates(),
            # For its processor: a cold start has to end well within the timeout.
            memory_size=1024,
            timeout=_HOOK_TIMEOUT,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={"THING_NAME_PATTERN": names.THING_NAME_PATTERN},
        )
        function.node.add_dependency(policy)
        return function

    def _role(self, device_policy_name: str, thing_group_name: str) -> tuple[iam.Role, iam.Policy]:
        """What AWS IoT registers with.

        Not AWSIoTThingsRegistration: that may also make policies, and detach those of any device.
        """
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "iot.amazonaws.com",
                # https://docs.aws.amazon.com/iot/latest/developerguide/cross-service-confused-deputy-prevention.html
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {
                        "aws:SourceArn": Stack.of(self).format_arn(
                            service="iot",
                            resource="*",
                            arn_format=ArnFormat.NO_RESOURCE_NAME,
                        )
                    },
                },
            ),
        )
        thing, certificate = iot_arn(self, "thing", "*"), iot_arn(self, "cert", "*")
        group = iot_arn(self, "thinggroup", thing_group_name)
        policy = iam.Policy(
            self,
            "Policy",
            roles=[role],
            statements=[
                iam.PolicyStatement(actions=actions, resources=resources)
                for actions, resources in (
                    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
                    (
                        [
                            *("iot:CreateThing", "iot:DescribeThing"),
                            *("iot:ListThingGroupsForThing", "iot:ListThingPrincipals"),
                        ],
                        [thing],
                    ),
                    (["iot:AddThingToThingGroup"], [thing, group]),
                    (["iot:DescribeThingGroup"], [group]),
                    (
                        # Which policy it attaches, the template says; IAM cannot.
                        [
                            *("iot:AttachPolicy", "iot:AttachPrincipalPolicy"),
                            *("iot:DescribeCertificate", "iot:UpdateCertificate"),
                        ],
                        [certificate],
                    ),
                    (["iot:GetPolicy"], [iot_arn(self, "policy", device_policy_name)]),
                    # These have no resources to name.
                    (
                        [
                            *("iot:AttachThingPrincipal", "iot:ListAttachedPolicies"),
                            *("iot:ListPrincipalThings", "iot:RegisterThing"),
                        ],
                        ["*"],
                    ),
                )
            ],
        )
        acknowledge_wildcards(policy, "Things and certificates are those of devices to come.")
        return role, policy


def _template_body(device_policy_name: str, thing_group_name: str) -> dict[str, object]:
    certificate_id = "AWS::IoT::Certificate::Id"
    return {
        "Parameters": {
            names.THING_NAME_PARAMETER: {"Type": "String"},
            certificate_id: {"Type": "String"},
        },
        "Resources": {
            "thing": {
                "Type": "AWS::IoT::Thing",
                "Properties": {
                    "ThingName": {"Ref": names.THING_NAME_PARAMETER},
                    "ThingGroups": [thing_group_name],
                },
                # A thing that was made beforehand, and waits for its device, keeps what it has.
                "OverrideSettings": {"ThingGroups": "MERGE"},
            },
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": {"Ref": certificate_id}, "Status": "ACTIVE"},
            },
            "policy": {
                "Type": "AWS::IoT::Policy",
                "Properties": {"PolicyName": device_policy_name},
            },
        },
    }
