"""Stand-ins for AWS IoT that keep state, and that can fail at any step."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import boto3
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from device.aws import AwsEnvironment
from tests.unit.device.fake_errors import ConflictError, Exceptions, NotFoundError

ACCOUNT, REGION = "123456789012", "eu-central-1"


class Killed(BaseException):
    """What happens to a process in the middle of a step."""


class Steps:
    """Counts the steps of a run, and kills it at one of them."""

    def __init__(self) -> None:
        self.count = 0
        self.kill_at: int | None = None

    def tick(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            raise Killed

    def run_until(self, step: int | None) -> None:
        self.count, self.kill_at = 0, step


@dataclass
class FakeIot:
    """AWS IoT's registry. A tick before and after each change: the answer may be lost."""

    steps: Steps = field(default_factory=Steps)
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)
    things: dict[str, set[str]] = field(default_factory=dict)  # to ARNs of principals
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)  # of things
    groups: dict[str, set[str]] = field(default_factory=lambda: {"dev_devices": set()})
    policies: dict[str, set[str]] = field(default_factory=lambda: {"dev_device": set()})
    documents: dict[str, dict[str, str]] = field(default_factory=dict)  # policy, version: text
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    indexed: list[dict[str, Any]] | None = None  # None: fleet indexing is off
    endpoint: str = "abc-ats.iot.eu-central-1.amazonaws.com"
    exceptions = Exceptions

    def __post_init__(self) -> None:
        self._ca_key = ec.generate_private_key(ec.SECP256R1())

    def _called(self, operation: str, **arguments: Any) -> None:
        self.calls.append((operation, arguments))
        self.steps.tick()

    def describe_endpoint(self, **arguments: Any) -> dict[str, Any]:
        self._called("describe_endpoint", **arguments)
        return {"endpointAddress": self.endpoint}

    def create_certificate_from_csr(self, **arguments: Any) -> dict[str, Any]:
        self._called("create_certificate_from_csr", **arguments)
        request = x509.load_pem_x509_csr(arguments["certificateSigningRequest"].encode())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(x509.Name([]))
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2049, 12, 31, tzinfo=UTC))
            .sign(self._ca_key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM).decode()
        identifier = sha256(pem.encode()).hexdigest()
        record = {
            "certificateId": identifier,
            "certificateArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{identifier}",
            "certificatePem": pem,
            "status": "ACTIVE" if arguments["setAsActive"] else "INACTIVE",
            "creationDate": datetime.now(UTC),
        }
        self.certificates[identifier] = record
        self.steps.tick()
        return record

    def describe_certificate(self, **arguments: Any) -> dict[str, Any]:
        self._called("describe_certificate", **arguments)
        if arguments["certificateId"] not in self.certificates:
            raise NotFoundError("DescribeCertificate")
        return {"certificateDescription": self.certificates[arguments["certificateId"]]}

    def update_certificate(self, **arguments: Any) -> None:
        self._called("update_certificate", **arguments)
        self.certificates[arguments["certificateId"]]["status"] = arguments["newStatus"]
        self.steps.tick()

    def create_thing(self, **arguments: Any) -> None:
        self._called("create_thing", **arguments)
        self.things.setdefault(arguments["thingName"], set())
        self.steps.tick()

    def attach_policy(self, **arguments: Any) -> None:
        self._called("attach_policy", **arguments)
        if arguments["policyName"] not in self.policies:
            raise NotFoundError("AttachPolicy")
        self.policies[arguments["policyName"]].add(arguments["target"])
        self.steps.tick()

    def attach_thing_principal(self, **arguments: Any) -> None:
        self._called("attach_thing_principal", **arguments)
        self.things[arguments["thingName"]].add(arguments["principal"])
        self.steps.tick()

    def add_thing_to_thing_group(self, **arguments: Any) -> None:
        self._called("add_thing_to_thing_group", **arguments)
        if arguments["thingGroupName"] not in self.groups:
            raise NotFoundError("AddThingToThingGroup")
        self.groups[arguments["thingGroupName"]].add(arguments["thingName"])
        self.steps.tick()

    def remove_thing_from_thing_group(self, **arguments: Any) -> None:
        self._called("remove_thing_from_thing_group", **arguments)
        self.groups[arguments["thingGroupName"]].discard(arguments["thingName"])
        self.steps.tick()

    def detach_policy(self, **arguments: Any) -> None:
        self._called("detach_policy", **arguments)
        self.policies[arguments["policyName"]].discard(arguments["target"])
        self.steps.tick()

    def detach_thing_principal(self, **arguments: Any) -> None:
        self._called("detach_thing_principal", **arguments)
        self.things[arguments["thingName"]].discard(arguments["principal"])
        self.steps.tick()

    def delete_certificate(self, **arguments: Any) -> None:
        self._called("delete_certificate", **arguments)
        if arguments["certificateId"] not in self.certificates:
            raise NotFoundError("DeleteCertificate")
        record = self.certificates[arguments["certificateId"]]
        arn = record["certificateArn"]
        policies = [held for held in list(self.policies.values()) if arn in held]
        in_use = any(arn in held for held in list(self.things.values()))
        if record["status"] == "ACTIVE" or in_use or (policies and not arguments["forceDelete"]):
            raise ConflictError("DeleteCertificate")
        for held in policies:
            held.discard(arn)
        del self.certificates[arguments["certificateId"]]
        self.steps.tick()

    def get_policy(self, **arguments: Any) -> dict[str, Any]:
        self._called("describe_policy", **arguments)
        if arguments["policyName"] not in self.policies:
            raise NotFoundError("GetPolicy")
        return {"policyDocument": list(self.documents[arguments["policyName"]].values())[-1]}

    def create_policy(self, **arguments: Any) -> None:
        self._called("create_policy", **arguments)
        self.policies[arguments["policyName"]] = set()
        self.documents[arguments["policyName"]] = {"1": arguments["policyDocument"]}
        self.steps.tick()

    def create_policy_version(self, **arguments: Any) -> None:
        self._called("create_policy_version", **arguments)
        versions = self.documents[arguments["policyName"]]
        assert arguments["setAsDefault"]
        assert len(versions) < 5
        versions[str(int(max(versions, key=int)) + 1)] = arguments["policyDocument"]
        self.steps.tick()

    def list_policy_versions(self, **arguments: Any) -> dict[str, Any]:
        self._called("list_policy_versions", **arguments)
        if arguments["policyName"] not in self.policies:
            raise NotFoundError("ListPolicyVersions")
        versions = list(self.documents[arguments["policyName"]])
        return {
            "policyVersions": [
                {"versionId": version, "isDefaultVersion": version == versions[-1]}
                for version in versions
            ]
        }

    def delete_policy_version(self, **arguments: Any) -> None:
        self._called("delete_policy_version", **arguments)
        del self.documents[arguments["policyName"]][arguments["policyVersionId"]]
        self.steps.tick()

    def delete_policy(self, **arguments: Any) -> None:
        self._called("delete_policy", **arguments)
        name = arguments["policyName"]
        if self.policies[name] or len(self.documents[name]) > 1:
            raise ConflictError("DeletePolicy")
        del self.policies[name], self.documents[name]
        self.steps.tick()

    def describe_thing(self, **arguments: Any) -> dict[str, Any]:
        self._called("describe_thing", **arguments)
        name = arguments["thingName"]
        if name not in self.things:
            raise NotFoundError("DescribeThing")
        return {
            "thingArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/{name}",
            "attributes": self.attributes.get(name, {}),
        }

    def update_thing(self, **arguments: Any) -> None:
        self._called("update_thing", **arguments)
        payload = arguments["attributePayload"]
        self.attributes.setdefault(arguments["thingName"], {}).update(payload["attributes"])
        self.steps.tick()

    def delete_thing(self, **arguments: Any) -> None:
        self._called("delete_thing", **arguments)
        self.things.pop(arguments["thingName"], None)
        for members in self.groups.values():
            members.discard(arguments["thingName"])
        self.steps.tick()

    def search_index(self, **arguments: Any) -> dict[str, Any]:
        self._called("search_index", **arguments)
        if self.indexed is None:
            raise NotFoundError("SearchIndex")
        return {"things": self.indexed}

    def get_paginator(self, operation: str) -> "_Paginator":
        return _Paginator(self, operation)

    def pages(self, operation: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._called(operation, **arguments)
        match operation:
            case "list_certificates":
                # One to a page, and newest first, as asked for.
                for record in reversed(self.certificates.values()):
                    yield {"certificates": [record]}
            case "list_thing_principals":
                if arguments["thingName"] not in self.things:
                    raise NotFoundError("ListThingPrincipals")
                yield {"principals": sorted(self.things[arguments["thingName"]])}
            case "list_principal_things":
                things = [
                    n for n, its in list(self.things.items()) if arguments["principal"] in its
                ]
                yield {"things": things}
            case "list_things_in_thing_group":
                if arguments["thingGroupName"] not in self.groups:
                    raise NotFoundError("ListThingsInThingGroup")
                yield {"things": sorted(self.groups[arguments["thingGroupName"]])}
            case "list_policies":
                yield {"policies": [{"policyName": name} for name in sorted(self.policies)]}
            case "list_targets_for_policy":
                if arguments["policyName"] not in self.policies:
                    raise NotFoundError("ListTargetsForPolicy")
                yield {"targets": sorted(self.policies[arguments["policyName"]])}
            case "list_attached_policies":
                names = [n for n, its in list(self.policies.items()) if arguments["target"] in its]
                yield {"policies": [{"policyName": name} for name in names]}
            case "list_thing_groups_for_thing":
                names = [n for n, held in self.groups.items() if arguments["thingName"] in held]
                yield {"thingGroups": [{"groupName": name} for name in names]}

    def changes(self) -> list[str]:
        """The operations called that are not mere questions."""
        return [name for name, _ in self.calls if not name.startswith(("list_", "describe_"))]

    def add_old_certificates(self, count: int) -> None:
        """Others' certificates, made long ago."""
        for number in range(count):
            identifier = f"old{number}"
            self.certificates[identifier] = {
                "certificateId": identifier,
                "certificateArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{identifier}",
                "certificatePem": "not looked at",
                "status": "INACTIVE",
                "creationDate": datetime.now(UTC) - timedelta(days=100 - number),
            }


@dataclass
class _Paginator:
    iot: FakeIot
    operation: str

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        arguments.pop("PaginationConfig", None)
        return self.iot.pages(self.operation, arguments)


@dataclass
class FakeIotData:
    """The API of live connections."""

    steps: Steps
    connected: set[str] = field(default_factory=set)
    supported: bool = True

    def delete_connection(self, **arguments: Any) -> None:
        self.steps.tick()
        if not self.supported:
            error = {"Error": {"Code": "InvalidRequestException", "Message": "unknown"}}
            raise ClientError(cast("Any", error), "DeleteConnection")
        if arguments["clientId"] not in self.connected:
            raise NotFoundError("DeleteConnection")
        self.connected.discard(arguments["clientId"])


@dataclass
class FakeCloudFormation:
    status: str | None = "CREATE_COMPLETE"

    def describe_stacks(self, **arguments: Any) -> dict[str, Any]:
        if self.status is None:
            message = f"Stack with id {arguments['StackName']} does not exist"
            error = {"Error": {"Code": "ValidationError", "Message": message}}
            raise ClientError(cast("Any", error), "DescribeStacks")
        return {"Stacks": [{"StackStatus": self.status}]}


@dataclass
class FakeSession:
    iot: FakeIot
    cloudformation: FakeCloudFormation
    iot_data: FakeIotData | None = None

    def client(self, service: str, **_: Any) -> Any:
        clients = {"iot": self.iot, "iot-data": self.iot_data}
        return {**clients, "cloudformation": self.cloudformation}[service]


def environment(
    root: Path,
    iot: FakeIot,
    stack_status: str | None = "CREATE_COMPLETE",
    iot_data: FakeIotData | None = None,
    *,
    name: str = "dev",
) -> AwsEnvironment:
    session = FakeSession(iot, FakeCloudFormation(stack_status), iot_data)
    return AwsEnvironment(name, cast("boto3.Session", session), ACCOUNT, REGION, root)
