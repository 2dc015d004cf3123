"""ops.recover: every undelivered message is in the raw bucket, once; killed at any step, too."""

import base64
import gzip
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from device import aws
from device.errors import AwsError, ExitStatus
from ops import recover, recovery
from ops.recovery import Recovered, Recovery
from tests.unit.device.fakes import Killed
from tests.unit.ops.fakes import FakeS3, environment
from tests.unit.ops.test_undelivered import error_document, firehose_record

JOURNAL = "recovering/telemetry.json"
FAILED = "failed/processing-failed/telemetry/dt=2026-11-25/hour=10/a"


def undelivered_key(name: str, channel: str = "telemetry") -> str:
    return f"undelivered/{channel}/dt=2026-11-25/{name}.json"


@pytest.fixture
def s3() -> FakeS3:
    made = FakeS3()
    for name in "abc":
        made.objects[undelivered_key(name)] = error_document(name.encode())
    made.objects[FAILED] = firehose_record(b"d\n") + b"\n" + firehose_record(b"e\n")
    made.objects[undelivered_key("x", "other")] = error_document(b"of another channel")
    made.objects["failed/processing-failed/other/dt=2026-11-25/hour=10/x"] = firehose_record(b"x")
    return made


def hourly() -> Callable[[], datetime]:
    """A clock that is an hour further at each look."""
    hours = itertools.count()
    return lambda: datetime(2026, 11, 25, 12, tzinfo=UTC) + timedelta(hours=next(hours))


def recovering(s3: FakeS3, clock: Callable[[], datetime] | None = None) -> Recovery:
    return Recovery(cast("Any", s3), "raw-bucket", "telemetry", clock or hourly())


def run_all(s3: FakeS3, clock: Callable[[], datetime] | None = None) -> list[Recovered]:
    run = recovering(s3, clock)
    return list(run.recover(run.sources()))


def messages(s3: FakeS3) -> list[str]:
    """What every raw object holds, sorted."""
    found = []
    for key, body in s3.objects.items():
        if key.startswith("raw/"):
            for line in gzip.decompress(body).splitlines():
                envelope = json.loads(line) if line.startswith(b"{") else None
                payload = base64.b64decode(envelope["payload"]) if envelope else line
                found.append(payload.decode())
    return sorted(found)


def left(s3: FakeS3) -> list[str]:
    return [key for key in s3.objects if not key.startswith("raw/") and "/other/" not in key]


def test_each_message_is_in_one_raw_object_of_this_hour_and_its_source_is_gone(s3: FakeS3) -> None:
    (made,) = run_all(s3)
    assert made.key.startswith("raw/telemetry/dt=2026-11-25/hour=12/recovered-")
    assert made.key.endswith(".ndjson.gz")
    assert (made.messages, made.sources) == (5, 4)
    assert messages(s3) == list("abcde")
    assert left(s3) == []


def test_other_channels_are_left_alone(s3: FakeS3) -> None:
    run_all(s3)
    assert [key for key in s3.objects if "/other/" in key] == [
        undelivered_key("x", "other"),
        "failed/processing-failed/other/dt=2026-11-25/hour=10/x",
    ]


def test_the_same_sources_make_the_same_object_whatever_else_there_is(s3: FakeS3) -> None:
    again = FakeS3()
    again.objects = dict(reversed(s3.objects.items()))
    assert run_all(s3) == run_all(again)
    key = next(key for key in s3.objects if key.startswith("raw/"))
    assert s3.objects[key] == again.objects[key]


@pytest.mark.parametrize("most_sources", [5000, 2, 1])
def test_killed_at_any_step_and_run_again_in_another_hour_each_message_is_there_once(
    s3: FakeS3, most_sources: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "_THREADS", 1)
    monkeypatch.setattr(recovery, "_MOST_SOURCES", most_sources)
    before = dict(s3.objects)
    for step in itertools.count(1):
        clock = hourly()
        s3.objects = dict(before)
        s3.steps.run_until(step)
        try:
            run_all(s3, clock)
        except Killed:
            there = set(messages(s3)) | _messages_of_sources(s3)
            assert there == set("abcde")
            # Meanwhile, another message is not delivered.
            s3.objects[undelivered_key("aa")] = error_document(b"f")
            s3.steps.run_until(None)
            run_all(s3, clock)
            assert messages(s3) == list("abcdef")
            assert left(s3) == []
        else:
            break
    assert step > 10


def _messages_of_sources(s3: FakeS3) -> set[str]:
    found: set[str] = set()
    for key, body in s3.objects.items():
        if key == FAILED:
            found |= {"d", "e"}
        elif key.startswith("undelivered/telemetry/"):
            found.add(base64.b64decode(json.loads(body)["base64OriginalPayload"]).decode())
    return found


def test_killed_again_and_again_each_message_is_there_once(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "_THREADS", 1)
    clock = hourly()
    for _ in range(100):
        s3.steps.run_until(3)
        try:
            run_all(s3, clock)
        except Killed:
            continue
        break
    assert messages(s3) == list("abcde")
    assert left(s3) == []
    assert len([key for key in s3.objects if key.startswith("raw/")]) == 1


def test_nothing_is_removed_before_each_message_was_read_in_the_new_object(s3: FakeS3) -> None:
    class Forgetful(FakeS3):
        def put_object(self, *, Key: str, Body: bytes, **more: Any) -> dict[str, Any]:  # noqa: N803
            body = gzip.compress(b"") if Key.startswith("raw/") else Body
            return super().put_object(Key=Key, Body=body, **more)

    forgetful = Forgetful()
    forgetful.objects = dict(s3.objects)
    with pytest.raises(AwsError, match="no source was removed"):
        run_all(forgetful)
    assert set(s3.objects) < set(forgetful.objects)


def test_what_is_not_understood_stays_and_is_named(s3: FakeS3) -> None:
    broken = undelivered_key("broken")
    s3.objects[broken] = b"{}"
    run = recovering(s3)
    (made,) = run.recover(run.sources())
    assert made.messages == 5
    assert left(s3) == [broken]
    assert list(run.not_understood) == [broken]
    assert run_all(s3) == []  # nothing but the broken one: no journal, no object
    assert left(s3) == [broken]


def test_a_source_that_somebody_removed_does_not_stop_an_interrupted_run(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "_THREADS", 1)
    s3.steps.run_until(2)  # the journal is written, nothing else
    with pytest.raises(Killed):
        run_all(s3)
    s3.steps.run_until(None)
    del s3.objects[undelivered_key("a")]
    run_all(s3)
    assert messages(s3) == list("bcde")
    assert left(s3) == []


def test_two_runs_at_the_same_time_do_not_bring_a_message_back_twice(s3: FakeS3) -> None:
    first, second = recovering(s3), recovering(s3)
    sources = second.sources()
    begun = first._begin([source.key for source in sources])
    with pytest.raises(AwsError, match="another run"):
        second._begin([undelivered_key("a")])
    assert len(list(second.recover(sources))) == 1
    list(first._complete(begun, dict(first.contents(sources))))
    assert messages(s3) == list("abcde")
    assert left(s3) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"target": 1, "sources": []}',
        b'{"target": "raw/other/a", "sources": []}',
        b'{"target": "raw/telemetry/a", "sources": ["raw/telemetry/b"]}',
        b'{"target": "raw/telemetry/a", "sources": ["undelivered/other/b"]}',
        b'{"target": "raw/telemetry/a", "sources": ["failed"]}',
    ],
)
def test_a_journal_that_is_none_removes_nothing_and_is_named(s3: FakeS3, body: bytes) -> None:
    s3.objects[JOURNAL] = body
    before = dict(s3.objects)
    with pytest.raises(AwsError, match=JOURNAL):
        run_all(s3)
    assert s3.objects == before


def run(monkeypatch: pytest.MonkeyPatch, s3: FakeS3, *arguments: str, answer: str = "") -> Result:
    monkeypatch.setattr(aws, "session_for", lambda _: environment(Path(), s3=s3))
    return CliRunner().invoke(recover.main, ["--env", "dev", *arguments], input=answer)


def test_a_dry_run_counts_and_changes_nothing(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(s3.objects)
    result = run(monkeypatch, s3, "--dry-run")
    assert result.exit_code == ExitStatus.OK
    failed, undelivered = sorted(result.stdout.splitlines())
    assert failed.startswith("failed/: 1 object, 2 messages, ")
    assert failed.endswith("the newest error: Access was denied.")
    assert undelivered.startswith("undelivered/: 3 objects, 3 messages, ")
    assert s3.objects == before


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_asks_first_and_changes_nothing_unless_the_answer_is_yes(
    answer: str, s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(s3.objects)
    assert run(monkeypatch, s3, answer=answer).exit_code in {ExitStatus.DECLINED, ExitStatus.USAGE}
    assert s3.objects == before


def test_json_says_what_was_recovered_and_what_was_not(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.objects[undelivered_key("broken")] = b"\x1b[2J"
    result = run(monkeypatch, s3, "--yes", "--format", "json")
    assert result.exit_code == ExitStatus.INCOMPLETE
    found = json.loads(result.stdout)
    assert found["sources"]["undelivered"]["objects"] == 4
    assert [one["messages"] for one in found["recovered"]] == [5]
    assert list(found["not_understood"]) == [undelivered_key("broken")]
    assert undelivered_key("broken") in result.stderr
    assert result.stderr.endswith("5 messages recovered in 1 raw object\n")


def test_nothing_undelivered_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakeS3(), "--yes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing of telemetry is undelivered; nothing to do\n"
