"""ops.raw: every message of the raw bucket can be read, whatever a device or an accident wrote."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from device import aws
from device.errors import ExitStatus
from ops import raw, raw_lines, raw_objects
from tests.unit.ops.fakes import FakeS3, environment

AT = datetime(2026, 11, 25, 10, 5, tzinfo=UTC)
HOUR = "raw/telemetry/dt=2026-11-25/hour=10"
TEN_TO_ELEVEN = ("--from", "2026-11-25T10:00", "--to", "2026-11-25 11:00:00Z")


def line(
    payload: bytes, *, thing: str = "sensor-1", at: datetime = AT, customer: str | None = None
) -> bytes:
    topic = f"dt/dev/{thing}/telemetry" + (f"/{customer}" if customer else "")
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "topic": topic,
        "client_id": thing,
        "certificate_id": "c",
        "received_at": int(at.timestamp() * 1000),
        "trace_id": "t",
    }
    return json.dumps(envelope).encode()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeS3:
    made = FakeS3()
    monkeypatch.setattr(aws, "session_for", lambda _: environment(tmp_path, s3=made))
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(raw.main, ["--env", "dev", *arguments])


def shown(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments)
    assert result.exit_code == ExitStatus.OK, result.output
    return [json.loads(one) for one in result.stdout.splitlines()]


def test_shows_each_message_decoded_with_its_place_and_its_envelope(s3: FakeS3) -> None:
    packed = gzip.compress(b'[{"temperature": 1.5},\n{"temperature": null}]')
    s3.objects[f"{HOUR}/a.ndjson.gz"] = gzip.compress(
        line(b'{"temperature": 20}') + b"\n\n" + line(packed, customer="acme") + b"\n"
    )
    first, second = shown(*TEN_TO_ELEVEN)
    assert first == {
        "raw_key": f"{HOUR}/a.ndjson.gz",
        "raw_line": 1,
        "thing_name": "sensor-1",
        "customer": None,
        "received_at": "2026-11-25 10:05:00.000Z",
        "topic": "dt/dev/sensor-1/telemetry",
        "client_id": "sensor-1",
        "certificate_id": "c",
        "trace_id": "t",
        "payload": {"temperature": 20},
    }
    assert second["raw_line"] == 3
    assert second["customer"] == "acme"
    assert second["payload"] == [{"temperature": 1.5}, {"temperature": None}]


def test_filters_by_thing_and_time_but_not_what_may_be_of_any(s3: FakeS3) -> None:
    s3.objects[f"{HOUR}/a.ndjson.gz"] = b"\n".join(
        [
            line(b"1"),
            line(b"2", thing="sensor-2"),
            line(b"3", thing="sensor-3"),
            line(b"4", at=AT.replace(hour=11, minute=0)),
            line(b"5", at=AT.replace(hour=9)),
            b"no envelope",
        ]
    )
    found = shown(*TEN_TO_ELEVEN, "--thing", "sensor-1", "--thing", "sensor-2")
    assert [one.get("payload", one.get("text")) for one in found] == [1, 2, "no envelope"]


def test_finds_a_message_that_arrived_while_the_batch_of_the_hour_before_was_open(
    s3: FakeS3,
) -> None:
    before = HOUR.replace("hour=10", "hour=09")
    s3.objects[f"{before}/a.ndjson.gz"] = line(b"1", at=AT.replace(hour=9)) + b"\n" + line(b"2")
    s3.objects[f"{HOUR.replace('hour=10', 'hour=11')}/a.ndjson.gz"] = line(b"3")
    assert [one["payload"] for one in shown(*TEN_TO_ELEVEN)] == [2]


def test_recovered_messages_are_found_by_the_hour_of_their_recovery(s3: FakeS3) -> None:
    for hour in (9, 10, 11):
        key = f"raw/telemetry/dt=2026-11-25/hour={hour:02}/recovered-{hour}.ndjson.gz"
        s3.objects[key] = line(b"%d" % hour, at=AT.replace(day=1))
    assert [one["payload"] for one in shown(*TEN_TO_ELEVEN)] == [10]
    assert [one["payload"] for one in shown("--from", "0001-01-01", "--to", "2027-01-01")] == [
        9,
        10,
        11,
    ]


def test_the_default_is_the_last_hour(s3: FakeS3) -> None:
    now = datetime.now(UTC)
    key = raw_objects.recovered_key("telemetry", now, "a").replace("recovered-", "")
    s3.objects[key] = line(b"1", at=now) + b"\n" + line(b"2", at=now - timedelta(hours=2))
    assert [one["payload"] for one in shown()] == [1]


def test_an_object_that_is_cut_short_is_shown_up_to_the_damage_and_then_marked(s3: FakeS3) -> None:
    whole = gzip.compress(line(b"1") + b"\n" + line(b"2") + b"\n", compresslevel=0)
    s3.objects[f"{HOUR}/a.ndjson.gz"] = whole[:-30]
    s3.objects[f"{HOUR}/b.ndjson.gz"] = gzip.compress(line(b"3"))
    first, cut, damage, last = shown(*TEN_TO_ELEVEN)
    assert (first["payload"], last["payload"]) == (1, 3)
    assert cut["error"] == "not an envelope"
    assert cut["text"].startswith('{"payload"')
    assert damage["error"].startswith("object: expected whole gzip")
    assert damage["raw_key"] == f"{HOUR}/a.ndjson.gz"


@pytest.mark.parametrize(
    ("payload", "error", "text"),
    [
        (b"battery low", "payload: not whole JSON", "battery low"),
        (b"", "payload: not whole JSON", ""),
        (b'{"n": NaN}', "payload: not whole JSON", '{"n": NaN}'),
        (b'{"n": 1e999}', "payload: not whole JSON", '{"n": 1e999}'),
        (b'{"n": 1, "n": 2}', "payload: not whole JSON", '{"n": 1, "n": 2}'),
        (b"[" * 100_000, "payload: not whole JSON", "[" * 100_000),
        (b'{"n": "\xff"}', "payload: not whole JSON", '{"n": "\\xff"}'),
        (gzip.compress(b'{"n": 1}', mtime=0)[:-9], "payload: the gzip is cut short", None),
        (
            gzip.compress(b'{"n": 1}', mtime=0) + b"x",
            "payload: something follows the gzip",
            '{"n": 1}',
        ),
        (b"\x1f\x8bnot gzip", "payload: the gzip is damaged", "\x1f\\x8bnot gzip"),
    ],
)
def test_a_payload_that_cannot_be_decoded_is_shown_as_text_and_marked(
    payload: bytes, error: str, text: str | None
) -> None:
    found = raw_lines.shown(line(payload))
    assert found["error"] == error
    assert "payload" not in found
    assert found["thing_name"] == "sensor-1"
    assert text is None or found["text"] == text


def test_a_payload_of_several_gzip_members_is_decoded() -> None:
    payload = gzip.compress(b'{"n": ') + gzip.compress(b"1}")
    assert raw_lines.shown(line(payload))["payload"] == {"n": 1}


def test_a_payload_that_expands_without_end_is_shown_in_part() -> None:
    found = raw_lines.shown(line(gzip.compress(bytes(50 * 2**20))))
    assert found["error"] == "payload: more than 8,388,608 bytes after gunzip"
    assert len(str(found["text"])) == 8 * 2**20


def test_a_line_without_end_costs_no_memory_and_no_other_line(s3: FakeS3) -> None:
    long = b"x" * (raw_objects.MOST_LINE_BYTES + 1)
    s3.objects[f"{HOUR}/a.ndjson.gz"] = gzip.compress(long * 3 + b"\n" + line(b"1"))
    first, second = shown(*TEN_TO_ELEVEN)
    assert len(first["text"]) == raw_objects.MOST_LINE_BYTES
    assert (second["raw_line"], second["payload"]) == (2, 1)


@given(st.binary())
def test_every_line_of_any_object_is_shown(content: bytes) -> None:
    wanted = raw.Wanted(AT, AT, frozenset({"nobody"}))
    found = raw_objects.RawObject("bucket", f"{HOUR}/a.ndjson.gz", len(content))
    for body in (content, gzip.compress(content), gzip.compress(content)[: len(content) // 2 + 2]):
        messages = list(raw.messages(found, _stream(body), wanted))
        assert all("error" in message for message in messages)
        if not body.startswith(b"\x1f\x8b"):
            assert len(messages) == sum(bool(one.strip()) for one in content.split(b"\n"))


def _stream(content: bytes) -> Any:
    import io  # noqa: PLC0415

    return io.BytesIO(content)


def test_what_a_device_sent_reaches_no_terminal_as_a_control_character(s3: FakeS3) -> None:
    s3.objects[f"{HOUR}/a.ndjson.gz"] = line(b'"\\u001b[2J\\u009b"') + b"\n" + b"\x1b[2J"
    result = run(*TEN_TO_ELEVEN)
    assert "\x1b" not in result.stdout
    assert "\x9b" not in result.stdout
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "expected a time such as 2026-11-25"),
        (("--from", "2026-11-25", "--to", "2026-11-25"), "expected --from before --to"),
        (("--from", "0001-01-01T00:00+14:00"), "expected a time such as 2026-11-25"),
        (("--thing", "a/b"), "thing"),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitStatus.USAGE
    assert said in result.stderr


def test_nothing_found_is_said_and_succeeds(s3: FakeS3) -> None:
    result = run(*TEN_TO_ELEVEN)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "0 messages of 0 objects read\n"
