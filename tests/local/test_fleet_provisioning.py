"""Fleet provisioning by claim, on the local stack: real template, hook, role and policies.

One hop has a stand-in: the emulator does not sign requests over MQTT, so ``local.emulator_process``
answers ``$aws/certificates/create-from-csr/json`` in its place.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from awsiot import iotidentity

from contracts import names
from device import identity
from device.delivery import mqtt
from device.errors import ExitStatus, RequestFailed
from device.identity import Identity
from device.registry import enrolment
from local.state import ENVIRONMENT, ROOT
from ops import claim as claims
from tests.local.conftest import CHANNEL, Lake, wait_for
from tests.local.paho_client import RefusedError, connected

RunModule = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def claim(lake: Lake) -> Identity:
    return claims.make(lake.environment, lambda _: None)


@pytest.fixture
def thing() -> str:
    return f"claimed-{secrets.token_hex(4)}"


@contextlib.contextmanager
def as_claim(claim: Identity) -> Iterator[mqtt.Connection]:
    client_id = names.claim_client_id(ENVIRONMENT, secrets.token_hex(8))
    with mqtt.Connection(claim, client_id=client_id) as connection:
        yield connection


def test_a_device_registers_by_claim_without_aws_and_its_readings_become_rows(
    lake: Lake, claim: Identity, thing: str, run_module: RunModule
) -> None:
    # A device: no credentials, and no profile that could have some.
    without_aws = {name: value for name, value in os.environ.items() if "AWS" not in name}
    without_aws["AWS_CONFIG_FILE"] = without_aws["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    command = ["-m", "device.provision", "--env", ENVIRONMENT, thing, "--claim"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=without_aws,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    assert "provisioned already" in done.stderr
    own = identity.load(identity.folder_of(ENVIRONMENT, thing))
    iot = lake.client("iot")
    arn = own.device.certificate_arn
    assert iot.list_thing_principals(thingName=thing)["principals"] == [arn]
    found = iot.describe_certificate(certificateId=own.device.certificate_id)
    assert found["certificateDescription"]["status"] == "ACTIVE"
    assert found["certificateDescription"]["certificateArn"] == arn
    attached = iot.list_attached_policies(target=arn)["policies"]
    assert [policy["policyName"] for policy in attached] == [names.device_policy_name(ENVIRONMENT)]
    groups = iot.list_thing_groups_for_thing(thingName=thing)["thingGroups"]
    assert [group["groupName"] for group in groups] == [names.thing_group_name(ENVIRONMENT)]

    done = run_module("device.publish", "--env", ENVIRONMENT, "--thing", thing, "--count", "5")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: lake.rows(thing), 5, "rows")
    assert {line["certificate_id"] for line in lake.raw_lines(thing)} == {own.device.certificate_id}
    # To AWS's own tools it is a device like any other.
    for command in (["device.provision"], ["ops.doctor"], ["device.rotate"]):
        done = run_module(*command, "--env", ENVIRONMENT, thing)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_claim_certificate_connects_as_no_device(
    claim: Identity, device: Identity, thing: str
) -> None:
    for client_id in (device.device.client_id, thing, names.CLAIM, f"{ENVIRONMENT}_claim"):
        with (
            pytest.raises(RefusedError, match="Not authorized"),
            connected(claim.folder, client_id=client_id),
        ):
            pass


def test_a_claim_certificate_publishes_and_subscribes_to_nothing_else(
    claim: Identity, device: Identity
) -> None:
    client_id = names.claim_client_id(ENVIRONMENT, "1")
    with connected(claim.folder, client_id=client_id) as client:
        for topic in (
            *(device.device.topic(CHANNEL), device.device.basic_ingest_topic(CHANNEL)),
            *(device.device.proof_topic, "$aws/certificates/create/json", "anything"),
            "$aws/provisioning-templates/other/provision/json",
            "$aws/certificates/create-from-csr/cbor",
        ):
            assert client.publish(topic, b"{}") == "Not authorized", topic
        for topic_filter in ("#", "dt/#", "$aws/certificates/create/json/accepted"):
            assert client.subscribe(topic_filter) == "Not authorized", topic_filter
        own = f"{names.register_topic(ENVIRONMENT)}/accepted"
        assert "Not authorized" not in client.subscribe(own)


def test_the_hook_refuses_the_name_of_a_device_which_goes_on_undisturbed(
    lake: Lake, claim: Identity, device: Identity, tmp_path: Path
) -> None:
    thing = device.device.thing_name
    key = device.key_path.read_bytes()
    before = lake.client("iot").list_thing_principals(thingName=thing)["principals"]
    with pytest.raises(RequestFailed, match="a device has this name already") as caught:
        enrolment.enrol(claim, thing, lambda _: None, root=tmp_path)
    assert caught.value.status is ExitStatus.CONFLICT
    after = lake.client("iot").list_thing_principals(thingName=thing)["principals"]
    assert after == before == [device.device.certificate_arn]
    assert device.key_path.read_bytes() == key
    with connected(device.folder):
        pass


@pytest.mark.parametrize("name", ["", "a/b", "@claim", "sensor 1", None, 7, ["sensor"]])
def test_the_hook_refuses_what_is_no_things_name(claim: Identity, name: object) -> None:
    with as_claim(claim) as connection, pytest.raises(RequestFailed) as caught:
        _register(connection, _sign(connection), name)
    assert caught.value.code == "AccessDenied"


def test_the_same_certificate_may_be_registered_again_and_another_one_may_not(
    claim: Identity, thing: str
) -> None:
    with as_claim(claim) as connection:
        first, second = _sign(connection), _sign(connection)
        for token in (first, first):
            assert _register(connection, token, thing) == thing
        for token in (second, "x"):
            with pytest.raises(RequestFailed):
                _register(connection, token, thing)


def test_an_enrolment_whose_last_answer_was_lost_completes(
    lake: Lake, claim: Identity, thing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = mqtt.Connection.request

    def lost(self: mqtt.Connection, operation: str, asked: object) -> Any:
        response = request(self, operation, asked)
        if operation == "register_thing":
            raise KeyboardInterrupt
        return response

    root = lake.environment.root
    with monkeypatch.context() as patched:
        patched.setattr(mqtt.Connection, "request", lost)
        with pytest.raises(KeyboardInterrupt):
            enrolment.enrol(claim, thing, lambda _: None, root=root)
    said: list[str] = []
    own = enrolment.enrol(claim, thing, said.append, root=root)
    assert said == [f"certificate {own.device.certificate_id}: registered already"]
    principals = lake.client("iot").list_thing_principals(thingName=thing)["principals"]
    assert principals == [own.device.certificate_arn]


def test_a_revoked_claim_certificate_registers_nobody(
    lake: Lake, claim: Identity, thing: str, run_module: RunModule
) -> None:
    registered = enrolment.enrol(claim, thing, lambda _: None, root=lake.environment.root)
    copy = claim.folder.with_name("@claim-copy")
    claim.folder.rename(copy)  # on a device, out of the operator's reach
    try:
        done = run_module("ops.claim", "--env", ENVIRONMENT, "--revoke", "--yes")
        assert done.returncode == 0, done.stderr
        assert claim.device.certificate_id in done.stdout
        done = run_module(
            *("device.provision", "--env", ENVIRONMENT, f"{thing}-2", "--claim", str(copy))
        )
        assert done.returncode == ExitStatus.CONNECTION_REFUSED
        assert "run python -m ops.claim --env local" in done.stderr
    finally:
        for path in copy.iterdir():
            path.unlink()
        copy.rmdir()
    with connected(registered.folder):  # who has registered with it is a device all the same
        pass


def _sign(connection: mqtt.Connection) -> str:
    """Have a certificate signed; return its ownership token."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    asked = iotidentity.CreateCertificateFromCsrRequest(
        certificate_signing_request=signed.public_bytes(Encoding.PEM).decode()
    )
    answer = connection.request("create_certificate_from_csr", asked)
    return str(answer.certificate_ownership_token)


def _register(connection: mqtt.Connection, token: str, name: object) -> str:
    asked = iotidentity.RegisterThingRequest(
        template_name=names.provisioning_template_name(ENVIRONMENT),
        certificate_ownership_token=token,
        parameters={names.THING_NAME_PARAMETER: name},
    )
    return str(connection.request("register_thing", asked).thing_name)
