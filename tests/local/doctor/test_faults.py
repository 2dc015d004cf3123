"""Each hop is broken in turn, and doctor names exactly that one."""

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from device.identity import Identity
from local.state import ENVIRONMENT, ROOT
from ops.doctor.context import Context
from ops.doctor.examination import examine, first_status
from ops.doctor.findings import CheckOutcome, Finding
from ops.doctor.stages import STAGES, needed_for
from tests.local.conftest import CHANNEL, Lake
from tests.local.doctor import identity_faults as identity
from tests.local.doctor import pipeline_faults as pipeline
from tests.local.doctor.conftest import Diagnose

Fault = Callable[[Lake, Identity], contextlib.AbstractContextManager[None]]


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


FAULTS = [
    (identity.key_readable, "identity · modes"),
    (identity.key_missing, "identity · files"),
    (identity.key_of_another, "identity · pair"),
    (identity.certificate_unreadable, "identity · pair"),
    (identity.no_ca, "identity · ca"),
    (identity.another_account, "environment · owner"),
    (identity.another_region, "environment · owner"),
    (identity.another_broker, "network · endpoint"),
    (identity.no_dns, "network · dns"),
    (identity.nothing_listens, "network · tcp"),
    (identity.another_ca, "network · tls"),
    (identity.certificate_inactive, "registration · certificate"),
    (identity.certificate_of_another, "registration · certificate"),
    (identity.not_attached, "registration · thing"),
    (identity.wrong_thing, "registration · thing"),
    (identity.policy_detached, "registration · policy"),
    (identity.policy_denies_client_id, "broker · connect"),
    (identity.policy_denies_topic, "broker · publish"),
    (identity.policy_denies_proof, "broker · publish"),
    (identity.unsent, "spool · readings"),
    (pipeline.rule_deleted, "rule · exists"),
    (pipeline.rule_disabled, "rule · enabled"),
    (pipeline.rule_on_another_topic, "rule · filter"),
    (pipeline.rule_on_another_channel, "rule · filter"),
    (pipeline.rule_without_action, "rule · actions"),
    (pipeline.rule_without_error_action, "rule · actions"),
    (pipeline.rule_to_no_stream, "delivery · stream"),
    (pipeline.undelivered, "delivery · undelivered/"),
    (pipeline.given_up, "delivery · failed/"),
    (pipeline.no_notification, "parser · notification"),
    (pipeline.queue_closed_to_s3, "parser · queue"),
    (pipeline.trigger_disabled, "parser · trigger"),
    (pipeline.function_throttled, "parser · concurrency"),
    (pipeline.function_failing, "parser · errors"),
    (pipeline.dead_letter, "parser · dead letters"),
    (pipeline.table_dropped, "table · exists"),
    (pipeline.table_elsewhere, "table · exists"),
    (pipeline.rubbish_in_table, "table · rows"),
]

# One of each kind is looked for by the whole command too.
EXAMINED_BY_ALL = [
    (identity.certificate_inactive, "registration · certificate"),
    (identity.unsent, "spool · readings"),
    (pipeline.rule_disabled, "rule · enabled"),
    (pipeline.dead_letter, "parser · dead letters"),
    (pipeline.table_dropped, "table · exists"),
]


@pytest.mark.parametrize(("fault", "named"), FAULTS)
def test_names_the_one_hop_that_is_broken(
    fault: Fault, named: str, lake: Lake, patient: Identity
) -> None:
    stages = needed_for("environment", named.split(maxsplit=1)[0])
    with fault(lake, patient):
        found = list(examine(context_of(patient), stages))
    (failed,) = failures(found)
    assert f"{failed.stage} · {failed.check}" == named
    assert failed.remedy
    assert first_status(found, stages) == STATUSES[failed.stage]


@pytest.mark.parametrize(("fault", "named"), EXAMINED_BY_ALL)
def test_the_whole_examination_names_the_one_hop_that_is_broken(
    fault: Fault, named: str, lake: Lake, patient: Identity, diagnose: Diagnose
) -> None:
    with fault(lake, patient):
        found = diagnose(patient)
    assert found.named == [named], found.failed
    assert found.failed[0]["remedy"]
    assert found.status == STATUSES[found.failed[0]["stage"]]


def context_of(patient: Identity, root: Path = ROOT) -> Context:
    return Context(ENVIRONMENT, patient.device.thing_name, CHANNEL, root)


def failures(found: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.outcome is CheckOutcome.FAILED]


def failed_in(context: Context, *names: str) -> list[str]:
    stages = [stage for stage in STAGES if stage.name in names]
    return [f"{found.stage} · {found.check}" for found in failures(examine(context, stages))]


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
    context = replace(context_of(patient), clock=lambda: datetime.now(UTC) + off)
    assert failed_in(context, "identity", "environment") == named


def test_names_credentials_of_another_account_than_the_configured_one(
    patient: Identity, tmp_path: Path
) -> None:
    settings = json.loads((ROOT / "cdk.json").read_bytes())
    settings["context"]["environments"][ENVIRONMENT]["account"] = "111111111111"
    (tmp_path / "cdk.json").write_text(json.dumps(settings))
    for name in ("certs", ".local"):
        (tmp_path / name).symlink_to(ROOT / name)
    context = context_of(patient, tmp_path)
    assert failed_in(context, "environment") == ["environment · account"]
