"""The whole examination, as a person runs it."""

import json
import re
import secrets
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import boto3

import device
from device.errors import ExitStatus
from device.identity import Identity
from local.state import ENVIRONMENT
from ops import doctor
from ops.doctor.context import Context
from ops.doctor.examination import examine
from ops.doctor.findings import CheckOutcome
from ops.doctor.stages import chosen
from tests.local.conftest import CHANNEL, Lake, wait_until
from tests.local.doctor.conftest import Diagnose
from tests.local.doctor.identity_faults import world_readable_key

RunModule = Callable[..., subprocess.CompletedProcess[str]]
READING = {
    "timestamp": 1_790_000_000_000,
    "temperature": 1,
    "humidity": 2,
    "battery": 3,
    "status": "ok",
}

# The only ones that the local stack cannot answer.
SKIPPED = {
    ("registration", "client id"),
    ("registration", "topic"),
    ("rule", "metrics"),
    ("delivery", "metrics"),
    ("parser", "backlog"),
}


def test_on_a_healthy_device_every_check_passes(
    lake: Lake, patient: Identity, diagnose: Diagnose
) -> None:
    found = diagnose(patient)
    assert found.failed == []
    assert found.status == ExitStatus.OK
    skipped = {(f["stage"], f["check"]) for f in found.findings if f["outcome"] == "skipped"}
    assert skipped == SKIPPED


def test_send_follows_a_reading_to_its_row(
    lake: Lake, device: Identity, diagnose: Diagnose
) -> None:
    found = diagnose(device, "--send")
    assert found.failed == []
    assert found.status == ExitStatus.OK
    hops = [finding for finding in found.findings if finding["stage"] == "probe"]
    assert [hop["check"] for hop in hops] == ["published", "raw", "parsed", "row"]
    seconds = [float(re.findall(r"after ([0-9.]+) s", hop["detail"])[0]) for hop in hops]
    assert seconds == sorted(seconds)
    (row,) = lake.rows(device.device.thing_name)
    assert f"line {row['raw_line']} of {row['raw_key']}" in hops[-1]["detail"]


def test_the_text_report_has_a_line_for_each_check_and_the_remedy_below_it(
    patient: Identity, run_module: RunModule
) -> None:
    with world_readable_key(patient):
        done = run_module("ops.doctor", "--env", ENVIRONMENT, patient.device.thing_name)
    assert done.returncode == ExitStatus.IDENTITY
    lines = done.stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("failed"))
    assert lines[at].startswith("failed   identity · modes: ")
    assert lines[at + 1].strip() == f"→ run chmod 600 {patient.key_path}"
    # And once more at the end, where a person looks first.
    assert re.fullmatch(r"\d+ checks, 1 failed, \d+ skipped:", lines[-3])
    assert lines[-2:] == [f"  {lines[at].removeprefix('failed   ')}", lines[at + 1]]


def test_a_publisher_at_work_is_not_disconnected_unless_doctor_is_told_to(
    patient: Identity, diagnose: Diagnose
) -> None:
    with device.open(patient) as publisher:
        publisher.put(READING)
        wait_until(lambda: publisher.totals().acknowledged == 1, "the publisher's reading")
        found = diagnose(patient)
        assert found.failed == []
        broker = [f for f in found.findings if f["stage"] == "broker"]
        assert [f["outcome"] for f in broker] == ["skipped", "skipped"]
        assert "a publisher uses this identity" in broker[0]["detail"]
        assert diagnose(patient, "--send").named == ["probe · published"]
        taken = diagnose(patient, "--take-over")
        assert taken.failed == []
        assert [f["outcome"] for f in taken.findings if f["stage"] == "broker"] == ["ok", "ok"]


def test_no_connect_leaves_the_broker_out(patient: Identity, diagnose: Diagnose) -> None:
    found = diagnose(patient, "--no-connect")
    assert found.failed == []
    assert "broker" not in {finding["stage"] for finding in found.findings}


def test_a_thing_without_an_identity_fails_at_its_files_only(
    lake: Lake, run_module: RunModule
) -> None:
    done = run_module("ops.doctor", "--env", ENVIRONMENT, "nobody", "--format", "json")
    failed = [f for f in map(json.loads, done.stdout.splitlines()) if f["outcome"] == "failed"]
    assert [(f["stage"], f["check"]) for f in failed] == [("identity", "files")]
    assert failed[0]["remedy"] == "run python -m device.provision --env local nobody"
    assert done.returncode == ExitStatus.IDENTITY


def policy_of_the_docstring(results: str) -> dict[str, Any]:
    text = (doctor.__doc__ or "").partition(".. code-block:: json")[2]
    return dict(json.loads(text.replace("RESULTS", results)))


class LimitedSession:
    """Makes clients for a user who may do what the documented policy allows, and no more."""

    def __init__(self, lake: Lake) -> None:
        iam, name = lake.client("iam"), f"doctor-{secrets.token_hex(4)}"
        document = policy_of_the_docstring(lake.resource("AWS::S3::Bucket", "CatalogResults"))
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="doctor", PolicyDocument=json.dumps(document))
        self._key = iam.create_access_key(UserName=name)["AccessKey"]
        self._session = lake.environment.session
        self.called: set[str] = set()

    def client(self, service: str) -> Any:
        client = self._session.client(
            service,  # type: ignore[call-overload]  # any service
            aws_access_key_id=self._key["AccessKeyId"],
            aws_secret_access_key=self._key["SecretAccessKey"],
        )
        client.meta.events.register("before-call", lambda model, **_: self.called.add(model.name))
        return client


# The others' permissions have their names.
PERMISSIONS = {
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
}


def test_needs_no_permission_but_those_it_documents(lake: Lake, patient: Identity) -> None:
    session = LimitedSession(lake)
    limited = replace(lake.environment, session=cast("boto3.Session", session))
    context = Context(ENVIRONMENT, patient.device.thing_name, CHANNEL, lake.environment.root)
    found = []
    for finding in examine(context, chosen(connect=True, send=True)):
        context.environment = limited  # from the check after the one that opens it
        found.append(finding)
    assert [f for f in found if f.outcome is CheckOutcome.FAILED] == []
    assert {(f.stage, f.check) for f in found if f.outcome is CheckOutcome.SKIPPED} == {
        *SKIPPED,
        # The emulator takes GetFunctionConcurrency for PutFunctionConcurrency.
        ("parser", "concurrency"),
    }
    read = policy_of_the_docstring("any")["Statement"][0]["Action"]
    documented = {action.partition(":")[2] for action in read}
    assert {PERMISSIONS.get(name, name) for name in session.called} <= documented


def test_documents_permissions_to_read_only() -> None:
    read, results = policy_of_the_docstring("any")["Statement"]
    verbs = ("Describe", "Filter", "Get", "List", "StartQuery", "TestAuthorization")
    assert all(action.partition(":")[2].startswith(verbs) for action in read["Action"])
    assert results == {
        "Effect": "Allow",
        "Action": ["s3:PutObject"],
        "Resource": "arn:aws:s3:::any/*",
    }
