"""ops.cost: the bill, beside published examples that are calculated here by hand."""

import json
import logging
from dataclasses import replace

import pytest
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics

from device.delivery import prices
from ops.cost import bill
from ops.cost.deployment import Deployment, FunctionSettings, read
from ops.cost.traffic import Traffic
from telemetry_parser.events import ParsedObject
from telemetry_parser.parser import ParseResult
from telemetry_parser.report import PowertoolsReport
from telemetry_rebuild.manifest import Manifest, Version
from telemetry_rebuild.rebuild import Rebuilt
from telemetry_rebuild.report import PowertoolsHistoryReport
from tests.unit.ops.cost.templates import template

BASIC = "$aws/rules/dev_telemetry/dt/dev/thing-000000/telemetry"
PLAIN = "dt/dev/thing-000000/telemetry"
DEPLOYMENT = read(template(), "dev", "telemetry")


def traffic(messages: float, *, topic: str = PLAIN, payload_bytes: int = 100) -> Traffic:
    return Traffic(
        topic=topic,
        is_packed=False,
        readings=messages,
        reading_bytes=payload_bytes,
        readings_per_message=1,
        payload_bytes=payload_bytes,
        objects=43_200,
        raw_bytes=10 * prices.GIB,
        parquet_bytes=prices.GIB,
        daily_bytes=prices.GIB / 2,
    )


def usd(
    one: Traffic, devices: int = 1, deployment: Deployment = DEPLOYMENT
) -> dict[tuple[str, str], float]:
    return {(item.hop, item.what): item.usd for item in bill.items(deployment, one, devices)}


def test_iot_core_costs_what_its_published_workload_of_50_devices_costs() -> None:
    # https://aws.amazon.com/iot-core/pricing/: 50 devices, connected 24 hours a day, 300 messages
    # and 150 rules with one action a day each. By hand, for 30 days:
    # 50 * 1,440 * 30 = 2,160,000 minutes; 50 * 300 * 30 = 450,000 messages.
    found = usd(traffic(450_000), devices=50)
    assert found["IoT Core", "minutes of connection"] == pytest.approx(2.16 * 0.08)
    assert found["IoT Core", "messages, 5 KB"] == pytest.approx(0.45 * 1.00)
    # 50 * 150 * 30 = 225,000 rules and as many actions.
    found = usd(traffic(225_000), devices=50)
    assert found["rule", "rules triggered, 5 KB"] == pytest.approx(0.225 * 0.15)
    assert found["rule", "actions, 5 KB"] == pytest.approx(0.225 * 0.15)


@pytest.mark.parametrize(("kilobytes", "charged"), [(3, 5), (12, 15), (42, 45)])
def test_a_firehose_record_is_rounded_up_as_published(kilobytes: int, charged: int) -> None:
    # https://aws.amazon.com/firehose/pricing/: a record of 3 KB is charged as 5 KB, 12 KB as 15 KB,
    # and 42 KB as 45 KB. The payload is in base64, with an envelope of 400 bytes.
    payload_bytes = (kilobytes * 1024 - 400) * 3 // 4
    assert prices.record_units(payload_bytes) * 5 == charged


def test_firehose_costs_what_100_records_of_3_kb_a_second_cost() -> None:
    # 100 records/s of 3 KB, each charged as 5 KB: 500 KB/s / 1,048,576 KB/GB * 2,592,000 s
    # = 1,235.96 GB; 1,235.96 GB * $0.029 = $35.84.
    one = traffic(100 * 30 * 86_400, payload_bytes=2_000)
    assert usd(one)["Firehose", "records, 5 KB"] == pytest.approx(35.84, abs=0.005)


@pytest.mark.parametrize(("terabytes", "expected"), [(3.0, 15.00), (1.0, 5.00), (0.25, 1.25)])
def test_athena_costs_what_its_published_example_costs(terabytes: float, expected: float) -> None:
    # https://aws.amazon.com/athena/pricing/: 3 TB of text, 1 TB with gzip, and in Parquet the
    # one column in four that the query reads.
    assert prices.query_usd(round(terabytes * prices.TIB)) == pytest.approx(expected)


@pytest.mark.parametrize("scanned_bytes", [0, 1, 10 * 1024**2 - 1, 10 * 1024**2])
def test_athena_charges_for_10_mb_at_least(scanned_bytes: int) -> None:
    assert prices.query_usd(scanned_bytes) == pytest.approx(10 / 1024**2 * 5)


def test_athena_rounds_up_to_a_megabyte() -> None:
    assert prices.query_usd(10 * 1024**2 + 1) == pytest.approx(11 / 1024**2 * 5)


def test_lambda_costs_what_the_price_list_says_of_100_000_requests() -> None:
    # 100,000 requests of 512 MB and 350 ms on Arm: 17,500 GB-seconds, $0.23, and $0.02.
    requests, compute = bill._lambda("parser", FunctionSettings(0.5, 0.0), 100_000, 35_000)
    assert requests.usd == pytest.approx(0.02)
    assert compute.quantity == 17_500
    assert compute.usd == pytest.approx(0.23, abs=0.005)


def test_storage_costs_what_the_price_list_says_of_10_000_gb() -> None:
    # 5,000 GB a month, kept for 60 days: 10,000 GB, $230.
    assert bill._stored("raw bucket", 5_000 * prices.GIB, 60).usd == pytest.approx(230.0)


def test_what_expired_is_paid_for_until_its_old_version_goes_too() -> None:
    found = {item.what for item in bill.items(DEPLOYMENT, traffic(1), 1)}
    assert {"GB stored for 90 days", "GB stored for 60 days", "GB stored for 120 days"} <= found


def test_basic_ingest_has_no_message_charge_and_triggers_one_rule_only() -> None:
    many = read(template(("telemetry", "events", "alarms")), "dev", "telemetry")
    basic, plain = (
        usd(traffic(1_000_000, topic=topic), deployment=many) for topic in (BASIC, PLAIN)
    )
    assert basic["IoT Core", "messages, 5 KB"] == 0
    assert plain["IoT Core", "messages, 5 KB"] == pytest.approx(1.00)
    assert basic["rule", "rules triggered, 5 KB"] == pytest.approx(0.15)
    assert plain["rule", "rules triggered, 5 KB"] == pytest.approx(0.45)
    assert basic["rule", "actions, 5 KB"] == plain["rule", "actions, 5 KB"]


def test_the_hops_up_to_the_raw_bucket_cost_what_the_publisher_says() -> None:
    for topic, payload_bytes in ((BASIC, 150), (PLAIN, 150), (BASIC, 4_900), (PLAIN, 12_000)):
        one = traffic(1_000, topic=topic, payload_bytes=payload_bytes)
        ways = [item.usd for item in bill.items(DEPLOYMENT, one, 1) if item.what.endswith("5 KB")]
        assert sum(ways) == pytest.approx(1_000 * prices.message_usd(topic, payload_bytes))


def test_requests_alarms_and_states_are_counted() -> None:
    quantities = {
        (item.hop, item.what): item.quantity for item in bill.items(DEPLOYMENT, traffic(1), 1)
    }
    assert quantities["raw bucket", "PUT requests"] == 43_200
    # 3 per object, and 5 idle receives every 20 s.
    assert quantities["queue", "requests, idle polls too"] == 3 * 43_200 + 5 * 30 * 86_400 / 20
    # Two states a night, and one for each of 48 hours.
    assert quantities["history", "state transitions"] == 30 * (2 + 48)
    assert quantities["monitoring", "alarms"] == 3
    assert quantities["monitoring", "dashboards"] == 1


def test_x_ray_records_a_twentieth_of_what_comes_within_a_second() -> None:
    assert bill._sampled(1_000) == 1_000
    assert bill._sampled(30 * 86_400 + 100) == pytest.approx(30 * 86_400 + 5)


def test_more_memory_than_a_core_needs_costs_more_and_is_no_faster() -> None:
    larger = replace(DEPLOYMENT, parser=FunctionSettings(2 * 1769 / 1024, 0.0))
    exact = replace(DEPLOYMENT, parser=FunctionSettings(1769 / 1024, 0.0))
    key = ("parser", "Lambda GB-seconds")
    one = traffic(1_000_000_000)
    assert usd(one, deployment=larger)[key] == pytest.approx(2 * usd(one, deployment=exact)[key])


def test_the_search_for_silent_devices_is_paid_for_only_if_it_is_deployed() -> None:
    assert DEPLOYMENT.silence is None
    with_it = replace(DEPLOYMENT, silence=FunctionSettings(1769 / 1024, 0.0))
    before, after = usd(traffic(1)), usd(traffic(1), deployment=with_it)
    more = {key: after[key] for key in after if key not in before}
    assert {hop for hop, _ in more} == {"silent devices"}
    assert all(value > 0 for value in more.values())
    # 30 days of 24 runs.
    assert more["silent devices", "invocations"] == pytest.approx(720 * 0.20 / 1_000_000)


def test_a_query_of_a_day_costs_its_scan_and_two_requests_per_object() -> None:
    live, daily = bill.query_items(
        replace(traffic(1), parquet_bytes=300 * prices.GIB, daily_bytes=150 * prices.GIB)
    )
    assert live.usd == pytest.approx(10 / 1024 * 5 + 2 * 1_440 * 0.0004 / 1_000)
    assert daily.usd == pytest.approx(5 / 1024 * 5 + 2 * 24 * 0.0004 / 1_000)


def test_the_parser_writes_as_many_metrics_and_logs_no_more_than_the_bill_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = ParseResult(
        raw_key="raw/telemetry/dt=2026-11-25/hour=10/telemetry-1-2026-11-25-10-00-00-uuid.ndjson.gz",
        lines=1_000,
        blank_lines=0,
        messages_parsed=1_000,
        messages_rejected=0,
        readings_parsed=1_000,
        readings_rejected=0,
        rejected_by={},
        raw_bytes=500_000,
        payload_bytes=150_000,
        parquet_bytes=20_000,
        rejected_bytes=0,
        oldest_received_at=1_795_600_800_000,
        unknown_fields=(),
        unknown_fields_unnamed=0,
    )
    logger, metrics = Logger(service="cost-parser"), Metrics(namespace="n", service="cost-parser")
    logger.setLevel(logging.INFO)
    PowertoolsReport(logger, metrics).parsed(
        ParsedObject(
            result=result,
            raw_bucket="telemetry-dev-storageraw7e344c76-abcdefghijkl",
            parquet_key="parsed/telemetry/dt=2026-11-25/hour=10/telemetry-1-uuid.parquet",
            rejected_key=None,
            seconds=0.1,
            batch_age_seconds=60.0,
        )
    )
    _check_report(capsys, bill.PARSER_METRICS, bill.PARSER_LOG_BYTES)


def test_the_rebuild_writes_as_many_metrics_and_logs_no_more_than_the_bill_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = Manifest(
        channel="telemetry",
        hour="2026-11-25T10",
        complete=True,
        version=Version("contract", "code", 90),
        rows=1_000,
    )
    logger, metrics = Logger(service="cost-rebuild"), Metrics(namespace="n", service="cost-rebuild")
    logger.setLevel(logging.INFO)
    PowertoolsHistoryReport(logger, metrics).rebuilt(
        Rebuilt(manifest=manifest, unchanged=False, seconds=1.0)
    )
    _check_report(capsys, bill.REBUILD_METRICS, bill.REBUILD_LOG_BYTES)


def _check_report(capsys: pytest.CaptureFixture[str], metrics: int, log_bytes: int) -> None:
    """Lambda's own lines of an invocation are about 1,000 bytes."""
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in (out + err).splitlines()]
    written = [line for line in lines if "_aws" in line]
    names = written[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    assert len(names) == metrics
    assert len(out + err) + 1_000 <= log_bytes
