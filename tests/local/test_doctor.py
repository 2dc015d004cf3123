"""ops.doctor: each hop is broken in turn, and doctor names exactly that one."""

import contextlib
import json
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
import trustme
from click.testing import CliRunner

from contracts import names
from device.delivery.spool import Spool
from device.errors import ExitStatus
from device.identity import Identity
from device.registry.registration import provision
from local import state
from local.state import ENVIRONMENT, MQTT, ROOT
from ops import doctor
from ops.doctor import probe
from ops.doctor.__main__ import main, stages
from ops.doctor.context import Context
from ops.doctor.findings import Outcome, examine
from tests.local.conftest import CHANNEL, Lake, wait_for, wait_until

RunModule = Callable[..., subprocess.CompletedProcess[str]]
RULE = names.rule_name(ENVIRONMENT, CHANNEL)
POLICY = names.device_policy_name(ENVIRONMENT)


@pytest.fixture(scope="module")
def patient(lake: Lake) -> Identity:
    return provision(lake.environment, f"patient-{secrets.token_hex(4)}", lambda _: None)


@dataclass(frozen=True)
class Diagnosis:
    status: int
    findings: list[dict[str, Any]]

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [finding for finding in self.findings if finding["outcome"] == "failed"]


Diagnose = Callable[..., Diagnosis]
Fault = Callable[[Lake, Identity], contextlib.AbstractContextManager[None]]


@pytest.fixture
def diagnose() -> Diagnose:
    def run(patient: Identity, *options: str) -> Diagnosis:
        thing = patient.device.thing_name
        arguments = ["--env", ENVIRONMENT, thing, "--format", "json", *options]
        done = CliRunner().invoke(main, arguments)
        assert done.stderr == ""
        return Diagnosis(done.exit_code, [json.loads(line) for line in done.stdout.splitlines()])

    return run


def test_on_a_healthy_device_every_check_passes(
    lake: Lake, patient: Identity, diagnose: Diagnose
) -> None:
    found = diagnose(patient)
    assert found.failed == []
    assert found.status == ExitStatus.OK
    # The only ones that the local stack cannot answer.
    skipped = {(f["stage"], f["check"]) for f in found.findings if f["outcome"] == "skipped"}
    assert skipped == {("rule", "metrics"), ("delivery", "metrics"), ("parser", "backlog")}


def test_send_follows_a_reading_to_its_row(
    lake: Lake, patient: Identity, diagnose: Diagnose
) -> None:
    found = diagnose(patient, "--send")
    assert found.failed == []
    assert found.status == ExitStatus.OK
    hops = [finding for finding in found.findings if finding["stage"] == "probe"]
    assert [hop["check"] for hop in hops] == ["published", "raw", "parsed", "row"]
    seconds = [float(re.findall(r"after ([0-9.]+) s", hop["detail"])[0]) for hop in hops]
    assert seconds == sorted(seconds)
    (row,) = lake.rows(patient.device.thing_name)
    assert row["reading_id"] in hops[-1]["detail"]


def test_the_text_report_has_a_line_for_each_check_and_the_mend_below_it(
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


def test_no_connect_leaves_the_broker_out(patient: Identity, diagnose: Diagnose) -> None:
    found = diagnose(patient, "--no-connect")
    assert found.failed == []
    assert "broker" not in {finding["stage"] for finding in found.findings}


# --- The faults. Each is there for as long as its context lasts.


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
    with spool.transaction():
        spool.add_message("a/topic", b"{}", 3)
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


@contextmanager
def changed_rule(lake: Lake, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
    iot = lake.client("iot")
    rule = iot.get_topic_rule(ruleName=RULE)["rule"]
    keys = ("sql", "description", "awsIotSqlVersion", "ruleDisabled", "actions", "errorAction")
    payload = {key: rule[key] for key in keys}
    iot.replace_topic_rule(ruleName=RULE, topicRulePayload={**payload, **change(payload)})
    try:
        yield
    finally:
        iot.replace_topic_rule(ruleName=RULE, topicRulePayload=payload)


@contextmanager
def rule_deleted(lake: Lake, _patient: Identity) -> Iterator[None]:
    iot = lake.client("iot")
    with changed_rule(lake, lambda _: {}):  # which makes it again
        rule = iot.get_topic_rule(ruleName=RULE)["rule"]
        keys = ("sql", "description", "awsIotSqlVersion", "ruleDisabled", "actions", "errorAction")
        iot.delete_topic_rule(ruleName=RULE)
        try:
            yield
        finally:
            payload = {key: rule[key] for key in keys}
            iot.create_topic_rule(ruleName=RULE, topicRulePayload=payload)


def rule_without_action(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    def others(rule: dict[str, Any]) -> dict[str, Any]:
        return {"actions": [action for action in rule["actions"] if "firehose" not in action]}

    return changed_rule(lake, others)


def rule_without_error_action(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_rule(lake, lambda rule: {"errorAction": rule["actions"][0]})


def rule_disabled(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    return changed_rule(lake, lambda _: {"ruleDisabled": True})


def rule_on_another_topic(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_rule(lake, lambda rule: {"sql": rule["sql"].replace("'dt/", "'other/")})


def rule_on_another_channel(
    lake: Lake, _patient: Identity
) -> contextlib.AbstractContextManager[None]:
    return changed_rule(
        lake, lambda rule: {"sql": rule["sql"].replace("= 'telemetry'", "= 'other'")}
    )


def rule_to_no_stream(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    def to_none(rule: dict[str, Any]) -> dict[str, Any]:
        actions = json.loads(json.dumps(rule["actions"]))
        for action in actions:
            if "firehose" in action:
                action["firehose"]["deliveryStreamName"] = "no-such-stream"
        return {"actions": actions}

    return changed_rule(lake, to_none)


@contextmanager
def object_in(lake: Lake, key: str, body: bytes, bucket: str = "RawBucket") -> Iterator[None]:
    s3, bucket = lake.client("s3"), lake.bucket(bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    try:
        yield
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def undelivered(lake: Lake, patient: Identity) -> contextlib.AbstractContextManager[None]:
    document = {
        "topic": names.topic(ENVIRONMENT, patient.device.thing_name, CHANNEL),
        "failures": [{"errorMessage": "not authorized to perform firehose:PutRecord"}],
    }
    day = f"{datetime.now(UTC):dt=%Y-%m-%d}"
    key = f"undelivered/{CHANNEL}/{day}/made-by-a-test.json"
    return object_in(lake, key, json.dumps(document).encode())


def given_up(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    hour = f"{datetime.now(UTC):dt=%Y-%m-%d/hour=%H}"
    return object_in(lake, f"failed/processing-failed/{CHANNEL}/{hour}/made-by-a-test", b"{}")


@contextmanager
def no_notification(lake: Lake, _patient: Identity) -> Iterator[None]:
    s3, bucket = lake.client("s3"), lake.bucket("RawBucket")
    before = s3.get_bucket_notification_configuration(Bucket=bucket)
    before.pop("ResponseMetadata")
    put = s3.put_bucket_notification_configuration
    put(Bucket=bucket, NotificationConfiguration={})
    try:
        yield
    finally:
        put(Bucket=bucket, NotificationConfiguration=before)


@contextmanager
def changed_queue(lake: Lake, name: str, value: str) -> Iterator[None]:
    sqs, url = lake.client("sqs"), lake.resource("AWS::SQS::Queue", "ParserFunctionQueue")
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={name: value})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


def queue_closed_to_s3(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    condition = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    policy = {"Version": "2012-10-17", "Statement": [{**deny, **condition}]}
    return changed_queue(lake, "Policy", json.dumps(policy))


def function_of(lake: Lake) -> str:
    return lake.resource("AWS::Lambda::Function", "ParserFunction")


@contextmanager
def trigger_disabled(lake: Lake, _patient: Identity) -> Iterator[None]:
    client = lake.client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName=function_of(lake))[
        "EventSourceMappings"
    ]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


@contextmanager
def function_throttled(lake: Lake, _patient: Identity) -> Iterator[None]:
    client, name = lake.client("lambda"), function_of(lake)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=name)


@contextmanager
def function_failing(lake: Lake, patient: Identity) -> Iterator[None]:
    client, name = lake.client("lambda"), function_of(lake)
    before = client.get_function_configuration(FunctionName=name)
    variables = before["Environment"]["Variables"]
    update = client.update_function_configuration
    broken = {**variables, "PARSED_BUCKET": "no-such-bucket"}
    rows = len(lake.rows(patient.device.thing_name))

    def errors() -> list[Any]:
        found = lake.client("logs").filter_log_events(
            logGroupName=before["LoggingConfig"]["LogGroup"],
            filterPattern="ERROR",
            startTime=int(started.timestamp() * 1000),
        )
        return list(found["events"])

    # Soon enough visible again for the test, and not given up before that.
    with changed_queue(lake, "VisibilityTimeout", "15"):
        started = datetime.now(UTC)
        update(FunctionName=name, Environment={"Variables": broken})
        try:
            send(lake, patient, {"temperature": 20.5, "humidity": 40, "battery": 9, "status": "ok"})
            wait_for(errors, 1, "errors in the function's log")
            yield
        finally:
            update(FunctionName=name, Environment={"Variables": variables})
        wait_until(lambda: len(lake.rows(patient.device.thing_name)) > rows, "the reading")


def send(lake: Lake, patient: Identity, reading: dict[str, Any]) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "device.publish", "--env", ENVIRONMENT),
            *("--thing", patient.device.thing_name, "--no-check"),
            *("--message", json.dumps({"timestamp": now, **reading})),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def dead_letter(lake: Lake, _patient: Identity) -> Iterator[None]:
    sqs = lake.client("sqs")
    url = lake.resource("AWS::SQS::Queue", "ParserFunctionDeadLetterQueue")
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    try:
        yield
    finally:
        sqs.purge_queue(QueueUrl=url)


@contextmanager
def table_dropped(lake: Lake, _patient: Identity) -> Iterator[None]:
    glue, database = lake.client("glue"), names.database_name(ENVIRONMENT)
    table = glue.get_table(DatabaseName=database, Name=CHANNEL)["Table"]
    keys = ("Name", "Description", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")
    glue.delete_table(DatabaseName=database, Name=CHANNEL)
    try:
        yield
    finally:
        glue.create_table(DatabaseName=database, TableInput={key: table[key] for key in keys})


@contextmanager
def table_elsewhere(lake: Lake, _patient: Identity) -> Iterator[None]:
    glue, database = lake.client("glue"), names.database_name(ENVIRONMENT)
    table = glue.get_table(DatabaseName=database, Name=CHANNEL)["Table"]
    keys = ("Name", "Description", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")
    before = {key: table[key] for key in keys}
    storage = {**table["StorageDescriptor"], "Location": "s3://no-such-bucket/parsed/"}
    update = glue.update_table
    update(DatabaseName=database, TableInput={**before, "StorageDescriptor": storage})
    try:
        yield
    finally:
        update(DatabaseName=database, TableInput=before)


def rubbish_in_table(lake: Lake, _patient: Identity) -> contextlib.AbstractContextManager[None]:
    hour = f"{datetime.now(UTC):dt=%Y-%m-%d/hour=%H}"
    key = f"parsed/{CHANNEL}/{hour}/made-by-a-test.parquet"
    return object_in(lake, key, b"this is not Parquet", bucket="ParsedBucket")


STATUSES = {
    "identity": 8,
    "environment": 12,
    "network": 7,
    "registration": 15,
    "broker": 6,
    "spool": 21,
    "rule": 16,
    "delivery": 17,
    "parser": 18,
    "table": 19,
}


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (key_readable, "identity · modes"),
        (key_missing, "identity · files"),
        (key_of_another, "identity · pair"),
        (certificate_unreadable, "identity · pair"),
        (no_ca, "identity · ca"),
        (another_account, "environment · owner"),
        (another_region, "environment · owner"),
        (another_broker, "network · endpoint"),
        (no_dns, "network · dns"),
        (nothing_listens, "network · tcp"),
        (another_ca, "network · tls"),
        (certificate_inactive, "registration · certificate"),
        (certificate_of_another, "registration · certificate"),
        (not_attached, "registration · thing"),
        (wrong_thing, "registration · thing"),
        (policy_detached, "registration · policy"),
        (policy_denies_client_id, "registration · client id"),
        (policy_denies_topic, "registration · topic"),
        (policy_denies_proof, "broker · publish"),
        (unsent, "spool · readings"),
        (rule_deleted, "rule · exists"),
        (rule_disabled, "rule · enabled"),
        (rule_on_another_topic, "rule · filter"),
        (rule_on_another_channel, "rule · filter"),
        (rule_without_action, "rule · actions"),
        (rule_without_error_action, "rule · actions"),
        (rule_to_no_stream, "delivery · stream"),
        (undelivered, "delivery · undelivered/"),
        (given_up, "delivery · failed/"),
        (no_notification, "parser · notification"),
        (queue_closed_to_s3, "parser · queue"),
        (trigger_disabled, "parser · trigger"),
        (function_throttled, "parser · concurrency"),
        (function_failing, "parser · errors"),
        (dead_letter, "parser · dead letters"),
        (table_dropped, "table · exists"),
        (table_elsewhere, "table · exists"),
        (rubbish_in_table, "table · rows"),
    ],
)
def test_names_the_one_hop_that_is_broken(
    fault: Fault, named: str, lake: Lake, patient: Identity, diagnose: Diagnose
) -> None:
    with fault(lake, patient):
        found = diagnose(patient)
    assert [f"{f['stage']} · {f['check']}" for f in found.failed] == [named], found.failed
    assert found.failed[0]["mend"]
    assert found.status == STATUSES[found.failed[0]["stage"]]


@pytest.mark.parametrize(
    ("off", "named"),
    [
        (timedelta(minutes=20), ["environment · clock"]),
        # So far off that the certificate is not valid.
        (timedelta(days=-20 * 365), ["identity · dates", "environment · clock"]),
        (timedelta(days=30 * 365), ["identity · dates", "environment · clock"]),
    ],
)
def test_names_a_clock_that_is_off(
    off: timedelta, named: list[str], lake: Lake, patient: Identity
) -> None:
    context = Context(
        ENVIRONMENT,
        patient.device.thing_name,
        CHANNEL,
        lake.environment.root,
        clock=lambda: datetime.now(UTC) + off,
    )
    assert failures(context) == named


def failures(context: Context) -> list[str]:
    found = examine(context, stages(connect=True, send=False))
    return [f"{f.stage} · {f.check}" for f in found if f.outcome is Outcome.FAILED]


def test_names_credentials_of_another_account_than_the_configured_one(
    patient: Identity, tmp_path: Path
) -> None:
    settings = json.loads((ROOT / "cdk.json").read_bytes())
    settings["context"]["environments"][ENVIRONMENT]["account"] = "111111111111"
    (tmp_path / "cdk.json").write_text(json.dumps(settings))
    for name in ("certs", ".local"):
        (tmp_path / name).symlink_to(ROOT / name)
    context = Context(ENVIRONMENT, patient.device.thing_name, CHANNEL, tmp_path)
    assert failures(context) == ["environment · account"]


@contextmanager
def firehose_stopped() -> Iterator[None]:
    (process,) = (process for process, role in state._marked() if role == "firehose")
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_a_probe_that_is_lost_is_named_by_the_hop_where_it_was_lost(
    patient: Identity, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE_SECONDS", 1.0)
    with firehose_stopped():
        found = diagnose(patient, "--send")
    (failed,) = found.failed
    assert (failed["stage"], failed["check"]) == ("probe", "raw")
    assert failed["mend"] == "run python -m local status, and look into .local/logs"
    assert found.status == ExitStatus.PROBE


def test_a_probe_that_is_undelivered_is_told_with_the_reason(
    lake: Lake, patient: Identity, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_PATIENCE_SECONDS", 1.0)
    published = probe.Probe.publish
    with contextlib.ExitStack() as faults:

        def publish(self: probe.Probe, context: Context) -> str:
            faults.enter_context(undelivered(lake, patient))
            return published(self, context)

        monkeypatch.setattr(probe.Probe, "publish", publish)
        with firehose_stopped():
            found = diagnose(patient, "--send")
    (failed,) = found.failed
    assert (failed["stage"], failed["check"]) == ("probe", "raw")
    assert "not authorized to perform firehose:PutRecord" in failed["detail"]


def test_names_a_rejected_reading_with_its_reason(
    lake: Lake, make_device: Callable[[], Identity], diagnose: Diagnose
) -> None:
    device = make_device()
    send(lake, device, {"temperature": "hot", "humidity": 40, "battery": 9, "status": "ok"})
    wait_for(lambda: lake.rejected(device.device.thing_name), 1, "rejected readings")
    found = diagnose(device)
    (failed,) = found.failed
    assert (failed["stage"], failed["check"]) == ("readings", "rejected")
    assert "1 in the last 24 h and the newest" in failed["detail"]
    assert "$.temperature" in failed["detail"]
    assert found.status == ExitStatus.INVALID


def test_a_thing_without_an_identity_fails_at_its_files_only(
    lake: Lake, run_module: RunModule
) -> None:
    done = run_module("ops.doctor", "--env", ENVIRONMENT, "nobody", "--format", "json")
    failed = [f for f in map(json.loads, done.stdout.splitlines()) if f["outcome"] == "failed"]
    assert [(f["stage"], f["check"]) for f in failed] == [("identity", "files")]
    assert failed[0]["mend"] == "run python -m device.provision --env local nobody"
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
    for finding in examine(context, stages(connect=True, send=True)):
        context.environment = limited  # from the check after the one that opens it
        found.append(finding)
    assert [f for f in found if f.outcome is Outcome.FAILED] == []
    assert {(f.stage, f.check) for f in found if f.outcome is Outcome.SKIPPED} == {
        ("rule", "metrics"),
        ("delivery", "metrics"),
        ("parser", "backlog"),
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
