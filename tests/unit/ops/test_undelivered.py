"""ops.undelivered: AWS's documents become raw lines; anything else is named, never guessed."""

import base64
import contextlib
import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.undelivered import NotUnderstood, read

AT = datetime(2026, 11, 25, 10, 5, tzinfo=UTC)
ERROR_KEY = "undelivered/telemetry/dt=2026-11-25/id.json"
FAILED_KEY = "failed/processing-failed/telemetry/dt=2026-11-25/hour=10/name"


def error_document(payload: bytes = b'{"n": 1}', **changes: Any) -> bytes:
    """As AWS's documentation shows it."""
    document = {
        "ruleName": "dev_telemetry",
        "topic": "dt/dev/sensor-1/telemetry",
        "cloudwatchTraceId": "7e146a2c-95b5-6caf-98b9-50e3969734c7",
        "clientId": "sensor-1",
        "base64OriginalPayload": base64.b64encode(payload).decode(),
        "failures": [
            {
                "failedAction": "FirehoseAction",
                "failedResource": "stream",
                "errorMessage": "Failed to publish:\nthe stream is gone",
            }
        ],
    }
    return json.dumps(document | changes).encode()


def firehose_record(data: bytes, **changes: Any) -> bytes:
    """One line of a Firehose error object, as AWS's documentation shows it."""
    document = {
        "attemptsMade": 4,
        "arrivalTimestamp": 1_790_000_000_123,
        "errorCode": "S3.AccessDenied",
        "errorMessage": "Access was denied.",
        "attemptEndingTimestamp": 1_790_000_001_123,
        "rawData": base64.b64encode(data).decode(),
    }
    return json.dumps(document | changes).encode()


def test_an_error_document_becomes_the_line_that_the_rule_would_have_made() -> None:
    content = read(ERROR_KEY, error_document(b"\xff\x00"), AT)
    assert [json.loads(line) for line in content.lines] == [
        {
            "payload": base64.b64encode(b"\xff\x00").decode(),
            "topic": "dt/dev/sensor-1/telemetry",
            "client_id": "sensor-1",
            "certificate_id": None,
            "received_at": int(AT.timestamp() * 1000),
            "trace_id": "7e146a2c-95b5-6caf-98b9-50e3969734c7",
        }
    ]
    assert content.error == "Failed to publish: the stream is gone"


def test_basic_ingests_prefix_is_not_part_of_the_topic() -> None:
    document = error_document(topic="$aws/rules/dev_telemetry/dt/dev/sensor-1/telemetry")
    (line,) = read(ERROR_KEY, document, AT).lines
    assert json.loads(line)["topic"] == "dt/dev/sensor-1/telemetry"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("between", [b"\n", b"", b" \r\n\n"])
def test_the_records_of_firehose_are_the_lines_it_was_given(between: bytes, zipped: bool) -> None:
    records = [firehose_record(b'{"payload": "1"}\n'), firehose_record(b"no line feed")]
    body = between.join(records) + between
    content = read(FAILED_KEY, gzip.compress(body) if zipped else body, AT)
    assert content.lines == [b'{"payload": "1"}', b"no line feed"]
    assert content.error == "Access was denied."


def test_records_that_could_not_be_converted_name_their_error_in_capitals() -> None:
    record = firehose_record(b"x", errorMessage=None, ErrorMessage="no schema")
    assert read(FAILED_KEY, record, AT).error == "no schema"


@pytest.mark.parametrize(
    ("key", "body", "reason"),
    [
        (ERROR_KEY, b"", "expected at least one message"),
        (ERROR_KEY, b"not json", "document 1: expected JSON"),
        (ERROR_KEY, b"[]", "document 1: expected a JSON object"),
        (ERROR_KEY, b"{}", "without topic"),
        (ERROR_KEY, error_document(topic=None), "without topic"),
        (ERROR_KEY, error_document(base64OriginalPayload=None), "base64OriginalPayload"),
        (ERROR_KEY, error_document(base64OriginalPayload="*"), "base64OriginalPayload"),
        (ERROR_KEY, error_document()[:-2], "document 1: expected JSON"),
        (ERROR_KEY, b"[" * 100_000, "document 1: expected JSON"),
        (ERROR_KEY, b"\xff", "not UTF-8"),
        (ERROR_KEY, b"\x1f\x8bx", "whole gzip"),
        (ERROR_KEY, gzip.compress(error_document())[:-4], "whole gzip"),
        (FAILED_KEY, firehose_record(b"\n"), "expected at least one message"),
        (FAILED_KEY, firehose_record(b"x") + b"\n{}", "rawData"),
        (FAILED_KEY, firehose_record(b"x", rawData="a"), "rawData"),
        (FAILED_KEY, error_document(), "rawData"),
    ],
)
def test_what_is_not_of_the_documented_form_is_not_understood(
    key: str, body: bytes, reason: str
) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        read(key, body, AT)


@pytest.mark.parametrize("failures", [None, [], [None], [{"errorMessage": 7}], {}])
def test_a_strange_error_does_not_keep_the_message(failures: object) -> None:
    content = read(ERROR_KEY, error_document(failures=failures), AT)
    assert (len(content.lines), content.error) == (1, None)


@given(st.sampled_from([ERROR_KEY, FAILED_KEY]), st.binary())
def test_any_object_is_read_or_not_understood(key: str, body: bytes) -> None:
    with contextlib.suppress(NotUnderstood):
        assert read(key, body, AT).lines


@given(st.lists(st.binary(), min_size=1))
def test_every_payload_survives(payloads: list[bytes]) -> None:
    for payload in payloads:
        (line,) = read(ERROR_KEY, error_document(payload), AT).lines
        assert base64.b64decode(json.loads(line)["payload"]) == payload
