"""FleetProvisioning: devices register themselves with a claim certificate that they share."""

import json

from aws_cdk import Aws, Duration, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from contracts import names
from stacks.helpers.iot_arn import iot_arn
from stacks.helpers.python_function import python_function
from stacks.helpers.service_role import only_for, service_role

# AWS IoT waits this long for a hook's answer.
# https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
_HOOK_TIMEOUT = Duration.seconds(5)


class FleetProvisioning(Construct):
    """Fleet provisioning by claim: a template, its pre-provisioning hook, a policy for claims.

    A claim certificate can request a certificate and register it as a thing of this environment.
    It can do nothing else, and it can never connect as a device. The hook refuses a name that a
    device already has.

    Args:
        environment: First part of the names of policy and template.
        device_policy_name: Attached to the certificate of a registered device.
        thing_group_name: A registered thing is added to it.
        hook_code: The hook's asset.

    Attributes:
        template_name: The provisioning template.

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
        self.template_name = names.provisioning_template_name(environment)
        template_arn = iot_arn(self, "provisioningtemplate", self.template_name)
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
        role, policy = self._role(template_arn, device_policy_name, thing_group_name)
        template = iot.CfnProvisioningTemplate(
            self,
            "Template",
            template_name=self.template_name,
            description=f"Registers devices of {environment} by claim",
            enabled=True,
            provisioning_role_arn=role.role_arn,
            pre_provisioning_hook=iot.CfnProvisioningTemplate.ProvisioningHookProperty(
                payload_version="2020-04-01", target_arn=hook.function_arn
            ),
            template_body=json.dumps(_template_body(device_policy_name, thing_group_name)),
        )
        # AWS IoT checks at once that it may invoke the hook.
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
        return python_function(
            Construct(self, "Hook"),
            handler="provisioning_hook.handler.handler",
            description="Decides whether a device may register under the name it asks for",
            code=code,
            # For its share of a CPU: a cold start has to end well within the timeout.
            memory=Size.mebibytes(1024),
            timeout=_HOOK_TIMEOUT,
            environment={"THING_NAME_PATTERN": names.THING_NAME_PATTERN},
            statements=((["iot:ListThingPrincipals"], [iot_arn(self, "thing", "*")]),),
            why_wildcards="A device may ask for any name.",
        )

    def _role(
        self, template_arn: str, device_policy_name: str, thing_group_name: str
    ) -> tuple[iam.Role, iam.Policy]:
        """Make the role with which AWS IoT registers devices.

        The managed policy AWSIoTThingsRegistration also allows making policies and detaching
        those of any device. https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSIoTThingsRegistration.html
        """
        thing, certificate = iot_arn(self, "thing", "*"), iot_arn(self, "cert", "*")
        group = iot_arn(self, "thinggroup", thing_group_name)
        return service_role(
            self,
            "iot.amazonaws.com",
            # https://docs.aws.amazon.com/iot/latest/developerguide/cross-service-confused-deputy-prevention.html
            conditions=only_for(template_arn),
            statements=(
                # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
                (
                    [
                        *("iot:CreateThing", "iot:DescribeThing"),
                        *("iot:ListThingGroupsForThing", "iot:ListThingPrincipals"),
                    ],
                    [thing],
                ),
                # MERGE changes the groups of a thing that exists already.
                (["iot:UpdateThing"], [thing]),
                (
                    ["iot:AddThingToThingGroup", "iot:UpdateThingGroupsForThing"],
                    [thing, group],
                ),
                (["iot:DescribeThingGroup"], [group]),
                (
                    # IAM cannot name the policy that is attached; the template does.
                    [
                        *("iot:AttachPolicy", "iot:AttachPrincipalPolicy"),
                        *("iot:DescribeCertificate", "iot:UpdateCertificate"),
                    ],
                    [certificate],
                ),
                (["iot:GetPolicy"], [iot_arn(self, "policy", device_policy_name)]),
                # These actions know no resources.
                (
                    [
                        *("iot:AttachThingPrincipal", "iot:ListAttachedPolicies"),
                        *("iot:ListPrincipalThings", "iot:RegisterThing"),
                    ],
                    ["*"],
                ),
            ),
            why_wildcards="Devices that do not exist yet.",
        )


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
                # A thing that was made before its device registers keeps its other groups.
                "OverrideSettings": {"ThingGroups": "MERGE"},
            },
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {
                    "CertificateId": {"Ref": certificate_id},
                    "Status": "ACTIVE",
                    # No other thing can be attached to the certificate.
                    "ThingPrincipalType": "EXCLUSIVE_THING",
                },
            },
            "policy": {
                "Type": "AWS::IoT::Policy",
                "Properties": {"PolicyName": device_policy_name},
            },
        },
    }
