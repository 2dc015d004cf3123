"""ops.contract check: what a change means, in words, in JSON and as an exit status."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import contracts
from contracts import Contract, parse, revisions
from contracts.revisions import RevisionError
from device import aws
from device.errors import ExitStatus
from ops.contract import sample
from ops.contract.check import check
from tests.unit.ops.fakes import FakeS3, environment

NOW = contracts.load("telemetry")


def changed(**properties: Any) -> Contract:
    document = json.loads(json.dumps(NOW.document))
    for name, changes in properties.items():
        if changes is None:
            del document["properties"][name]
        else:
            document["properties"].setdefault(name, {}).update(changes)
    return parse("telemetry", json.dumps(document))


def run(
    monkeypatch: pytest.MonkeyPatch, old: Contract | Exception | None, *arguments: str
) -> Result:
    def load_at(channel: str, revision: str) -> Contract | None:
        if isinstance(old, Exception):
            raise old
        return old if channel == "telemetry" else None

    monkeypatch.setattr(revisions, "load_at", load_at)
    return CliRunner().invoke(check, arguments)


def test_no_change_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, NOW)
    assert (result.exit_code, result.stdout) == (0, "telemetry: no change since HEAD\n")


def test_a_new_contract_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, None, "telemetry")
    assert result.exit_code == ExitStatus.OK
    assert "telemetry: new since HEAD" in result.stdout


def test_compatible_changes_succeed_and_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, changed(firmware={"maxLength": 8}))
    assert result.exit_code == ExitStatus.OK
    assert "1 change since HEAD, 0 of them incompatible" in result.stdout
    assert "widened  $.firmware: maximum length: 8 → 32" in result.stdout


def test_incompatible_changes_fail_and_say_what_they_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, changed(sequence={"minimum": -5}, old={"type": "string"}))
    assert result.exit_code == ExitStatus.INCOMPATIBLE
    assert "INCOMPATIBLE  narrowed  $.sequence: minimum: -5 → 0" in result.stdout
    assert "INCOMPATIBLE  removed  $.old: string" in result.stdout
    for line in ("stored rows", "devices not updated", "Athena"):
        assert result.stdout.count(line) == 2


def test_json_has_every_change_and_its_consequences(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, changed(sequence={"minimum": -5}), "--format", "json")
    (found,) = map(json.loads, result.stdout.splitlines())
    assert found["is_compatible"] is False
    (change,) = found["changes"]
    assert change["path"] == "$.sequence"
    assert change["kind"] == "narrowed"
    assert set(change["consequence"]) == {"stored_rows", "devices", "athena"}


def test_a_contract_that_was_removed_is_incompatible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "channels", lambda: ())
    result = run(monkeypatch, NOW, "telemetry")
    assert result.exit_code == ExitStatus.INCOMPATIBLE
    assert "telemetry: removed since HEAD" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "expected a contract (telemetry), got 'nothing'"),
        (("telemetry", "--sample", "2026-11-24", "2026-11-25"), "expected --env and one CHANNEL"),
        (("--env", "dev", "--sample", "2026-11-24", "2026-11-25"), "expected --env and one"),
        (
            ("telemetry", "--env", "dev", "--sample", "2026-11-25", "2026-11-25"),
            "expected FROM before TO",
        ),
    ],
)
def test_a_wrong_argument_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    result = run(monkeypatch, NOW, *arguments)
    assert result.exit_code == ExitStatus.USAGE
    assert said in result.stderr


def test_a_revision_that_is_none_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, RevisionError("expected a revision"))
    assert result.exit_code == ExitStatus.USAGE
    assert "expected a revision" in result.stderr


def line(**changes: Any) -> bytes:
    reading = {
        "timestamp": 1_790_000_000_123,
        "temperature": 20,
        "humidity": 40,
        "battery": 99,
        "status": "ok",
        **changes,
    }
    envelope = {
        "payload": base64.b64encode(json.dumps(reading).encode()).decode(),
        "topic": "dt/dev/sensor-1/telemetry",
        "received_at": 1_790_000_000_500,
    }
    return json.dumps(envelope).encode()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    made = FakeS3()
    lines = [line(), line(sequence=-1), line(sequence=-2), line(humidity=200)]
    for hour in (9, 10, 11):
        key = f"raw/telemetry/dt=2026-11-25/hour={hour:02}/a.ndjson.gz"
        made.objects[key] = gzip.compress(b"\n".join(lines))
    made.objects["raw/telemetry/dt=2026-11-25/hour=10/b.ndjson.gz"] = b"\x1f\x8bdamaged"
    monkeypatch.setattr(aws, "session_for", lambda _: environment(Path(), s3=made))
    return made


SAMPLE = ("telemetry", "--env", "dev", "--sample", "2026-11-25T10:20", "2026-11-25T11:00")


def test_a_sample_shows_how_many_more_readings_are_rejected_and_why(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(monkeypatch, changed(sequence={"minimum": -1}), *SAMPLE, "--format", "json")
    assert result.exit_code == ExitStatus.INCOMPATIBLE
    found = json.loads(result.stdout)["sample"]
    assert (found["objects"], found["damaged_objects"]) == (
        1,
        ["raw/telemetry/dt=2026-11-25/hour=10/b.ndjson.gz"],
    )
    assert found["old"] == {"accepted": 2, "rejected": 2}
    assert found["new"] == {"accepted": 1, "rejected": 3}
    assert [(each["path"], each["old"], each["new"]) for each in found["differences"]] == [
        ("$.sequence", 0, 2),
        ("$.sequence", 1, 0),
    ]


def test_a_sample_is_shown_for_people(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, changed(sequence={"minimum": -1}), *SAMPLE)
    assert (
        "sample: 1 raw object; of 4 readings the old contract rejects 2, the new one 3"
        in result.stdout
    )
    assert "  +2  $.sequence  expected integer >= 0  (0 → 2)" in result.stdout
    assert "not read to its end: raw/telemetry/dt=2026-11-25/hour=10/b.ndjson.gz" in result.stdout


def test_a_sample_without_objects_is_no_error(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.objects.clear()
    result = run(monkeypatch, NOW, *SAMPLE)
    assert result.exit_code == ExitStatus.OK
    assert "sample: 0 raw objects; of 0 readings" in result.stdout


def test_the_same_contract_twice_differs_in_nothing(s3: FakeS3) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    day = datetime(2026, 11, 25, tzinfo=UTC)
    taken = sample.take("dev", NOW, NOW, day, day.replace(hour=12))
    assert taken.objects == 3
    assert taken.differences() == []
