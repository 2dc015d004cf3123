"""The stand-in for Firehose: what a batch's object is named, and what an error says."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from local.firehose import Stream
from local.firehose_buffer import Batch, Buffer

STREAM = Stream(
    rule_name="local_telemetry",
    name="stream",
    role_arn="arn:aws:iam::000000000000:role/firehose",
    version="3",
    bucket="raw",
    prefix="raw/telemetry/dt=!{timestamp:yyyy-MM-dd}/hour=!{timestamp:HH}/",
    extension=".ndjson.gz",
    separator="\n",
    interval_seconds=5,
    size_bytes=1000,
    error_bucket="raw",
    error_key=(
        'undelivered/telemetry/dt=${parse_time("yyyy-MM-dd", timestamp(), "UTC")}/${newuuid()}.json'
    ),
)
NOON = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


def closed(folder: Path, *arrivals: datetime, closing: datetime) -> Batch:
    """One batch of records that arrived at these moments."""
    moments = iter([arrivals[0], closing])
    buffer = Buffer(folder, STREAM.rule_name, clock=lambda: next(moments).timestamp())
    for _ in arrivals:
        buffer.append("record")
    buffer.close()
    (batch,) = buffer.batches()
    return batch


@given(st.lists(st.integers(0, 7200), min_size=1, max_size=5))
def test_a_batch_belongs_to_the_hour_of_its_oldest_record(offsets: list[int]) -> None:
    arrivals = sorted(NOON + timedelta(seconds=offset) for offset in offsets)
    with TemporaryDirectory() as folder:
        batch = closed(Path(folder), *arrivals, closing=NOON + timedelta(hours=3))
    hour = f"{arrivals[0]:%H}"
    assert STREAM.object_key(batch).startswith(f"raw/telemetry/dt=2026-11-22/hour={hour}/")


def test_an_object_is_named_as_firehose_names_it(tmp_path: Path) -> None:
    batch = closed(tmp_path / "1", NOON, closing=NOON + timedelta(seconds=7))
    name = STREAM.object_key(batch).rpartition("/")[2]
    assert re.fullmatch(rf"stream-3-2026-11-22-12-30-07-{UUID}\.ndjson\.gz", name)
    other = closed(tmp_path / "2", NOON, closing=NOON + timedelta(seconds=7))
    assert STREAM.object_key(batch) != STREAM.object_key(other)


def test_a_batch_that_is_delivered_again_has_the_same_key(tmp_path: Path) -> None:
    batch = closed(tmp_path, NOON, closing=NOON)
    assert STREAM.object_key(Batch.read(batch.path)) == STREAM.object_key(batch)


def test_the_error_action_gets_its_own_key_for_each_message() -> None:
    key = STREAM.error_object_key(NOON)
    assert re.fullmatch(rf"undelivered/telemetry/dt=2026-11-22/{UUID}\.json", key)


@given(st.binary())
def test_the_error_document_keeps_the_payload(payload: bytes) -> None:
    envelope = {"payload": base64.b64encode(payload).decode(), "topic": "dt/local/a/telemetry"}
    document = json.loads(STREAM.error_document(json.dumps(envelope), "AccessDenied"))
    assert base64.b64decode(document["base64OriginalPayload"]) == payload
    assert document["topic"] == "dt/local/a/telemetry"
    assert document["failures"][0]["errorMessage"] == "AccessDenied"
