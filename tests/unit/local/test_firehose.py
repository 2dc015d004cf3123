"""The stand-in for Firehose: when a batch closes, what it is named, and what an error says."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.firehose import Batch, Stream

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


def test_an_empty_batch_is_never_due() -> None:
    assert not Batch().is_due(STREAM, now=1e9)


@pytest.mark.parametrize(("seconds", "due"), [(0, False), (4.9, False), (5, True), (60, True)])
def test_a_batch_is_due_an_interval_after_its_first_record(seconds: float, due: bool) -> None:
    batch = Batch()
    batch.add("first", "1", NOON, now=100)
    batch.add("second", "2", NOON, now=100 + seconds)
    assert batch.is_due(STREAM, now=100 + seconds) is due


@given(st.lists(st.text(max_size=300), min_size=1, max_size=10))
def test_a_batch_is_due_at_its_size_before_compression(records: list[str]) -> None:
    batch = Batch()
    for record in records:
        batch.add(record, "receipt", NOON, now=0)
    written = "".join(record + STREAM.separator for record in records).encode()
    assert batch.size_bytes == len(written)
    assert batch.is_due(STREAM, now=0) is (len(written) >= STREAM.size_bytes)


@given(st.lists(st.integers(0, 7200), min_size=1))
def test_a_batch_belongs_to_the_hour_of_its_oldest_record(offsets: list[int]) -> None:
    batch = Batch()
    for offset in offsets:
        batch.add("record", "receipt", NOON + timedelta(seconds=offset), now=0)
    oldest = NOON + timedelta(seconds=min(offsets))
    key = STREAM.object_key(batch.oldest, NOON + timedelta(hours=3))
    assert key.startswith(f"raw/telemetry/dt=2026-11-22/hour={oldest:%H}/")


def test_an_object_is_named_as_firehose_names_it() -> None:
    key = STREAM.object_key(NOON, NOON + timedelta(seconds=7))
    name = key.rpartition("/")[2]
    assert re.fullmatch(rf"stream-3-2026-11-22-12-30-07-{UUID}\.ndjson\.gz", name)
    assert STREAM.object_key(NOON, NOON) != STREAM.object_key(NOON, NOON)


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
