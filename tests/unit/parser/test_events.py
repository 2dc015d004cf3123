"""From an SQS event to objects in place: what is read, written, removed and reported."""

import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from telemetry_parser.events import EventError, EventProcessor
from telemetry_parser.parser import Parser
from telemetry_parser.raw import ObjectError
from tests.unit.parser.examples import ARRIVAL_MS, GOOD, TELEMETRY, line
from tests.unit.parser.fakes import FakeObjects, FakeReport

EVENTS = Path(__file__).resolve().parents[2] / "events"
HOUR = "telemetry/dt=2026-11-22/hour=09"
KEY = f"raw/{HOUR}/batch-1.ndjson.gz"
PARQUET, REJECTED = f"parsed/{HOUR}/batch-1.parquet", f"rejected/{HOUR}/batch-1.ndjson.gz"


def golden(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def event(*bodies: object) -> dict[str, Any]:
    """An SQS event whose messages are called ``m0``, ``m1``, …"""
    return {
        "Records": [
            {"messageId": f"m{n}", "body": body if isinstance(body, str) else json.dumps(body)}
            for n, body in enumerate(bodies)
        ]
    }


def created(*keys: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {
        "Records": [
            {"eventName": name, "s3": {"bucket": {"name": "raw"}, "object": {"key": key}}}
            for key in keys
        ]
    }


class Function:
    """The function as it is put together, on fakes; its clock says two more seconds each time."""

    def __init__(self) -> None:
        self.objects = FakeObjects()
        self.report = FakeReport()
        self._now = ARRIVAL_MS / 1000 + 58
        self.processor = EventProcessor(
            parser=Parser(TELEMETRY),
            objects=self.objects,
            parsed_bucket="parsed",
            report=self.report,
            clock=self._clock,
        )

    def _clock(self) -> float:
        self._now += 2
        return self._now

    def failures(self, event: dict[str, Any]) -> list[str]:
        response = self.processor.process(event)
        assert response.keys() == {"batchItemFailures"}
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def holds(self, *lines: bytes, key: str = KEY) -> None:
        self.objects.content["raw", key] = gzip.compress(b"\n".join(lines))


@pytest.fixture
def function() -> Function:
    return Function()


def test_a_raw_object_becomes_a_parsed_and_a_rejected_one_under_keys_made_from_its_own(
    function: Function,
) -> None:
    function.holds(line(GOOD), b"bad")
    assert function.failures(event(created(KEY))) == []
    assert function.objects.keys("parsed") == {PARQUET, REJECTED}
    (row,) = pq.read_table(io.BytesIO(function.objects.content["parsed", PARQUET])).to_pylist()
    assert row["raw_key"] == KEY
    (rejected,) = gzip.decompress(function.objects.content["parsed", REJECTED]).splitlines()
    assert json.loads(rejected)["raw_key"] == KEY


def test_the_event_that_aws_sends_is_understood_and_its_key_decoded(function: Function) -> None:
    name = "stream one-1-2026-11-22-09-00-01-0b1c"
    function.objects.content["raw-bucket", f"raw/{HOUR}/{name}.ndjson.gz"] = line(GOOD)
    assert function.failures(golden("s3_object_created")) == []
    assert function.objects.keys("parsed") == {f"parsed/{HOUR}/{name}.parquet"}


def test_s3s_own_test_event_is_ignored_aloud(function: Function) -> None:
    assert function.failures(golden("s3_test_event")) == []
    assert [reason for _, reason in function.report.ignorances] == ["S3's test of the notification"]
    assert function.objects.calls == []


def test_the_report_has_the_counts_the_keys_and_how_long_it_took(function: Function) -> None:
    function.holds(line([GOOD, {}]), line(GOOD, received_at=ARRIVAL_MS + 30_000))
    function.failures(event(created(KEY)))
    (parsed,) = function.report.done
    assert (parsed.parquet_key, parsed.rejected_key) == (PARQUET, REJECTED)
    assert (parsed.result.readings_parsed, parsed.result.readings_rejected) == (2, 1)
    assert parsed.seconds == 2
    assert parsed.batch_age_seconds == 62


def test_one_bad_message_is_delivered_again_and_the_others_are_not(function: Function) -> None:
    function.holds(line(GOOD))
    missing = KEY.replace("batch-1", "batch-2")
    assert function.failures(event(created(missing), created(KEY), "not json")) == ["m0", "m2"]
    assert function.objects.keys("parsed") == {PARQUET}
    assert [message_id for message_id, _ in function.report.failures] == ["m0", "m2"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("not json", id="text"),
        pytest.param("[]", id="array"),
        pytest.param("7", id="number"),
        pytest.param({}, id="no records"),
        pytest.param({"Records": []}, id="empty records"),
        pytest.param({"Records": [{}]}, id="record without a name"),
        pytest.param({"Records": [7]}, id="record is a number"),
        pytest.param({"Event": "s3:Other"}, id="another event of S3's"),
        pytest.param(created(KEY, name="ObjectRemoved:Delete"), id="removal"),
        pytest.param(created("raw/other/dt=2026-11-22/hour=09/a.ndjson.gz"), id="other channel"),
        pytest.param(created(f"failed/{HOUR}/a.ndjson.gz"), id="not raw"),
        pytest.param(created("raw/telemetry/a.ndjson.gz"), id="no hour"),
        pytest.param(created(f"raw/{HOUR}/a.json"), id="other suffix"),
        pytest.param(created(f"raw/{HOUR}/a/b.ndjson.gz"), id="a folder more"),
        pytest.param(created(KEY, f"raw/{HOUR}/../a.ndjson.gz"), id="one good and one bad key"),
    ],
)
def test_an_event_that_is_not_understood_goes_back_to_the_queue(
    body: object, function: Function
) -> None:
    function.holds(line(GOOD))
    assert function.failures(event(body)) == ["m0"]
    assert isinstance(function.report.failures[0][1], EventError)
    assert function.objects.calls == []


def test_an_object_that_is_not_whole_gzip_goes_back_to_the_queue(function: Function) -> None:
    function.holds(line(GOOD))
    function.objects.content["raw", KEY] = function.objects.content["raw", KEY][:-5]
    assert function.failures(event(created(KEY))) == ["m0"]
    assert isinstance(function.report.failures[0][1], ObjectError)
    assert function.objects.keys("parsed") == set()


def test_outputs_of_an_earlier_run_that_this_one_does_not_write_are_removed(
    function: Function,
) -> None:
    function.holds(line(GOOD), b"bad")
    function.failures(event(created(KEY)))
    function.holds(line(GOOD))
    function.failures(event(created(KEY)))
    assert function.objects.keys("parsed") == {PARQUET}
    function.holds(b"bad")
    function.failures(event(created(KEY)))
    assert function.objects.keys("parsed") == {REJECTED}
    function.holds()
    function.failures(event(created(KEY)))
    assert function.objects.keys("parsed") == set()


def test_what_is_new_is_written_before_what_is_old_is_removed(function: Function) -> None:
    function.holds(b"bad")
    function.failures(event(created(KEY)))
    assert [operation for operation, _, _ in function.objects.calls] == ["open", "put", "remove"]


def test_a_second_delivery_makes_the_same_objects(function: Function) -> None:
    function.holds(line([GOOD, {}]), b"bad")
    function.failures(event(created(KEY)))
    first = dict(function.objects.content)
    function.failures(event(created(KEY), created(KEY)))
    assert function.objects.content == first


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_crash_anywhere_leaves_whole_objects_or_none_and_a_second_run_completes_them(
    before: int, function: Function
) -> None:
    function.holds(line(GOOD), b"bad")
    reference = Function()
    reference.holds(line(GOOD), b"bad")
    reference.failures(event(created(KEY)))

    def crash(*_: str) -> None:
        if len(function.objects.calls) > before:
            raise Crash

    function.objects.before = crash
    with pytest.raises(Crash):
        function.processor.process(event(created(KEY)))
    assert function.objects.content.items() <= reference.objects.content.items()

    function.objects.before = lambda *_: None
    assert function.failures(event(created(KEY))) == []
    assert function.objects.content == reference.objects.content


def test_no_file_stays_behind(
    function: Function, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    function.holds(line(GOOD), b"bad")
    bad = KEY.replace("batch-1", "batch-2")
    function.holds(line(GOOD), key=bad)
    function.objects.content["raw", bad] = function.objects.content["raw", bad][:-1]
    function.failures(event(created(KEY), created(bad)))
    assert list(tmp_path.iterdir()) == []
