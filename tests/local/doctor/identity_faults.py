"""Faults of one device: its files, its registration, its way to the broker, its spool.

Each fault lasts as long as its context.
"""

import contextlib
import json
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme

from contracts import names
from device.delivery.spool import Additions, Spool, SpooledMessage
from device.identity import Identity
from device.registry.registration import provision
from local.state import ENVIRONMENT, MQTT
from tests.local.conftest import Lake

POLICY = names.device_policy_name(ENVIRONMENT)


@contextmanager
def changed_file(path: Path, content: bytes | None) -> Iterator[None]:
    before = path.read_bytes()
    try:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)
        path.chmod(0o600)


@contextmanager
def world_readable_key(patient: Identity) -> Iterator[None]:
    patient.key_path.chmod(0o644)
    try:
        yield
    finally:
        patient.key_path.chmod(0o600)


def key_readable(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return world_readable_key(patient)


def key_missing(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return changed_file(patient.key_path, None)


def key_of_another(lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    other = provision(lake.environment, f"other-{secrets.token_hex(4)}", lambda _: None)
    return changed_file(patient.key_path, other.key_path.read_bytes())


def changed_description(patient: Identity, **changes: Any) -> Any:
    path = patient.folder / "device.json"
    content = {**json.loads(path.read_text()), **changes}
    return changed_file(path, json.dumps(content).encode())


def another_account(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    arn = patient.device.certificate_arn.replace(":000000000000:", ":111111111111:")
    return changed_description(patient, certificate_arn=arn)  # type: ignore[no-any-return]


def another_broker(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return changed_description(patient, port=1)  # type: ignore[no-any-return]


def another_region(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    arn = patient.device.certificate_arn.replace(":us-east-1:", ":eu-central-1:")
    return changed_description(patient, certificate_arn=arn)  # type: ignore[no-any-return]


@contextmanager
def broker_at(patient: Identity, **where: Any) -> Iterator[None]:
    """Environment and identity agree on where the broker is, and it is not there."""
    described = {"host" if name == "endpoint" else name: value for name, value in where.items()}
    content = {**json.loads(MQTT.read_bytes()), **described}
    with changed_description(patient, **where), changed_file(MQTT, json.dumps(content).encode()):
        yield


def no_dns(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return broker_at(patient, endpoint="broker.invalid")  # https://www.rfc-editor.org/rfc/rfc6761


@contextmanager
def nothing_listens(_lake: Lake, patient: Identity) -> Iterator[None]:
    with socket.socket() as bound:  # and not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        with broker_at(patient, port=bound.getsockname()[1]):
            yield


def no_ca(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return changed_file(patient.ca_path, b"")


@contextmanager
def certificate_of_another(lake: Lake, patient: Identity) -> Iterator[None]:
    other = provision(lake.environment, f"other-{secrets.token_hex(4)}", lambda _: None)
    with (
        changed_file(patient.certificate_path, other.certificate_path.read_bytes()),
        changed_file(patient.key_path, other.key_path.read_bytes()),
    ):
        yield


def certificate_unreadable(
    _lake: Lake, patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_file(patient.certificate_path, b"-----BEGIN CERTIFICATE-----")


def another_ca(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return changed_file(patient.ca_path, trustme.CA().cert_pem.bytes())


@contextmanager
def certificate_inactive(lake: Lake, patient: Identity) -> Iterator[None]:
    update = lake.client("iot").update_certificate
    update(certificateId=patient.device.certificate_id, newStatus="INACTIVE")
    try:
        yield
    finally:
        update(certificateId=patient.device.certificate_id, newStatus="ACTIVE")


@contextmanager
def not_attached(lake: Lake, patient: Identity) -> Iterator[None]:
    iot, device = lake.client("iot"), patient.device
    arguments = {"thingName": device.thing_name, "principal": device.certificate_arn}
    iot.detach_thing_principal(**arguments)
    try:
        yield
    finally:
        iot.attach_thing_principal(**arguments)


@contextmanager
def wrong_thing(lake: Lake, patient: Identity) -> Iterator[None]:
    iot, name = lake.client("iot"), f"wrong-{secrets.token_hex(4)}"
    iot.create_thing(thingName=name)
    arguments = {"thingName": name, "principal": patient.device.certificate_arn}
    with not_attached(lake, patient):
        iot.attach_thing_principal(**arguments)
        try:
            yield
        finally:
            iot.detach_thing_principal(**arguments)


@contextmanager
def policy_detached(lake: Lake, patient: Identity) -> Iterator[None]:
    iot, target = lake.client("iot"), patient.device.certificate_arn
    iot.detach_policy(policyName=POLICY, target=target)
    try:
        yield
    finally:
        iot.attach_policy(policyName=POLICY, target=target)


@contextmanager
def changed_policy(lake: Lake, change: Callable[[list[dict[str, Any]]], object]) -> Iterator[None]:
    iot = lake.client("iot")
    before = iot.get_policy(policyName=POLICY)
    document = json.loads(before["policyDocument"])
    change(document["Statement"])
    made = iot.create_policy_version(
        policyName=POLICY, policyDocument=json.dumps(document), setAsDefault=True
    )
    try:
        yield
    finally:
        iot.set_default_policy_version(
            policyName=POLICY, policyVersionId=before["defaultVersionId"]
        )
        iot.delete_policy_version(policyName=POLICY, policyVersionId=made["policyVersionId"])


def policy_denies_topic(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    deny = {"Effect": "Deny", "Action": "iot:Publish", "Resource": "*"}
    return changed_policy(lake, lambda statements: statements.append(deny))


def policy_denies_client_id(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_policy(lake, lambda statements: statements.pop(0))


@contextmanager
def in_spool(patient: Identity) -> Iterator[None]:
    """Readings that a publisher has left."""
    path = patient.spool_path
    path.parent.mkdir(exist_ok=True)
    spool = Spool(path, max_bytes=1 << 20)
    spool.add(Additions([SpooledMessage(spool.last_id() + 1, "a/topic", b"{}", 3)], [], {}))
    spool.close()
    try:
        yield
    finally:
        for file in path.parent.iterdir():
            file.unlink()


def unsent(_lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    return in_spool(patient)


def policy_denies_proof(lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    """What AWS IoT says of the policy is not what its broker does."""
    topic = names.proof_topic(ENVIRONMENT, patient.device.thing_name)
    deny = {"Effect": "Deny", "Action": "iot:Publish", "Resource": f"arn:aws:iot:*:*:topic/{topic}"}
    return changed_policy(lake, lambda statements: statements.append(deny))
