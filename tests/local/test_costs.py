"""End to end on the local stack: what ``ops.cost`` and ``ops.query`` say, beside a count."""

import subprocess
from collections.abc import Callable

import pytest

from device import aws, compact_json
from device.delivery import prices
from device.errors import ExitStatus
from device.identity import Identity
from local.state import ENVIRONMENT
from ops.cost import traffic
from tests.local.conftest import Lake, wait_for
from tests.local.paho_client import connected
from tests.local.test_pipeline import READING, encoded, topic_of

RunModule = Callable[..., subprocess.CompletedProcess[str]]


def test_a_wide_scan_is_counted_and_refused_before_it_runs(
    lake: Lake, device: Identity, run_module: RunModule
) -> None:
    with connected(device.folder) as client:
        client.publish(topic_of(device), encoded(READING))
    wait_for(lambda: lake.rows(device.device.thing_name), 1, "row")
    wide = ("ops.query", "--env", ENVIRONMENT, "SELECT count(*) FROM telemetry")

    # The bucket itself, counted independently before and after, as other tests may add to it.
    def counted() -> tuple[int, int]:
        sizes = [
            entry["Size"]
            for entry in aws.listed(
                lake.client("s3"),
                "list_objects_v2",
                "Contents",
                Bucket=lake.bucket("ParsedBucket"),
                Prefix="parsed/telemetry/",
            )
        ]
        return len(sizes), sum(sizes)

    before = counted()
    done = run_module(*wide)
    after = counted()
    assert done.returncode == 0, done.stderr
    advice, said, *_ = done.stderr.splitlines()
    assert advice.startswith("telemetry: there is no filter on dt")
    assert said.startswith("reads at most ")
    assert before[0] <= int(said.split()[3].replace(",", "")) <= after[0]
    megabytes = float(said.split()[5].replace(",", ""))
    assert before[1] / 1e6 - 0.01 <= megabytes <= after[1] / 1e6 + 0.01

    done = run_module(*wide, "--max-cost", "0.00001")
    assert done.returncode == ExitStatus.TOO_EXPENSIVE
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: expected a query of at most $0.000010")

    narrow = run_module(*wide[:-1], "SELECT count(*) FROM telemetry WHERE dt = '2020-01-01'")
    assert "reads at most 0 objects" in narrow.stderr
    assert "no filter" not in narrow.stderr


def test_a_raw_line_is_as_long_as_the_bill_takes_it_to_be(lake: Lake, device: Identity) -> None:
    payload = encoded(READING)
    with connected(device.folder) as client:
        client.publish(topic_of(device), payload)
    (envelope,) = wait_for(lambda: lake.raw_lines(device.device.thing_name), 1, "message")
    real = len(compact_json.encode(envelope))
    estimated = len(traffic.raw_line(topic_of(device), payload, 0, 0))
    assert estimated == pytest.approx(real, rel=0.05)
    # The prices allow for longer names than this one.
    added = real - -(-len(payload) // 3) * 4
    assert 200 < added <= prices.ENVELOPE_BYTES
