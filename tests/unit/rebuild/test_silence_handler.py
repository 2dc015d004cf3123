"""The function that tells of silent things: what it publishes, and when it keeps its state."""

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from telemetry_rebuild.silence import Arrivals, Thing, WatchState

NOW_MS = 1_795_600_800_000
NOW = "2026-11-25T10:00:00Z"
HOUR = 3_600_000
CONTEXT = SimpleNamespace(
    function_name="f",
    memory_limit_in_mb=512,
    invoked_function_arn="arn",
    aws_request_id="r-1",
)


class Told(list[dict[str, str]]):
    def publish(self, **message: str) -> None:
        self.append(message)


class Lake:
    def __init__(self, state: WatchState | None, arrivals: dict[str, Arrivals]) -> None:
        self.kept = state
        self._arrivals = arrivals

    def state(self, _: str) -> WatchState | None:
        return self.kept

    def arrivals(self, _: str, **__: Any) -> list[tuple[str, Arrivals]]:
        return list(self._arrivals.items())

    def keep(self, _: str, state: WatchState) -> None:
        self.kept = state


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in {
        "PARSED_BUCKET": "parsed",
        "EXPECTED_SECONDS": '{"telemetry": 600}',
        "TOPIC_ARN": "arn:topic",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("telemetry_rebuild.silence_handler")
    return importlib.reload(module)


def run(function: ModuleType, things: dict[str, Thing], **arrivals: Arrivals) -> tuple[Told, Lake]:
    told, lake = Told(), Lake(WatchState(NOW_MS - HOUR, things), arrivals)
    function._sns, function._lake = told, lake  # type: ignore[attr-defined]  # what a module has
    function.handler({"time": NOW}, CONTEXT)
    return told, lake


def test_one_message_lists_all_that_fell_silent_and_one_all_that_are_back(
    function: ModuleType,
) -> None:
    away = Thing(NOW_MS - 5 * HOUR, silent=True)
    told, _ = run(
        function,
        {"b": Thing(NOW_MS - HOUR), "a": Thing(NOW_MS - HOUR), "c": away},
        c=Arrivals(NOW_MS, NOW_MS, 1),
    )
    assert [message["Subject"] for message in told] == [
        "telemetry: 2 devices fell silent",
        "telemetry: 1 device is back",
    ]
    assert told[0]["TopicArn"] == "arn:topic"
    assert told[0]["Message"].splitlines()[:2] == [
        "a: newest message at 2026-11-25T09:00:00Z",
        "b: newest message at 2026-11-25T09:00:00Z",
    ]


def test_without_a_change_nothing_is_published(function: ModuleType) -> None:
    told, lake = run(function, {"a": Thing(NOW_MS), "b": Thing(NOW_MS - HOUR, silent=True)})
    assert told == []
    assert lake.kept is not None
    assert lake.kept.until == NOW_MS


def test_a_message_stays_within_what_sns_takes(function: ModuleType) -> None:
    names = [f"{number:0128}" for number in range(2000)]
    told, _ = run(function, {name: Thing(NOW_MS - HOUR) for name in names})
    assert len(told[0]["Message"].encode()) < 256 * 1024
    assert "and 1500 more" in told[0]["Message"]
    # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    assert len("c" * 32 + told[0]["Subject"].removeprefix("telemetry")) < 100


def test_a_message_that_could_not_be_published_is_published_by_the_next_run(
    function: ModuleType,
) -> None:
    def refuse(**_: str) -> None:
        raise LookupError

    state = WatchState(NOW_MS - HOUR, {"a": Thing(NOW_MS - HOUR)})
    lake = Lake(state, {})
    function._lake = lake  # type: ignore[attr-defined]  # what a module has
    function._sns = SimpleNamespace(publish=refuse)  # type: ignore[attr-defined]
    with pytest.raises(LookupError):
        function.handler({"time": NOW}, CONTEXT)
    assert lake.kept is state


def test_the_log_has_counts_and_no_names(
    function: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    run(function, {"secret-name": Thing(NOW_MS - HOUR)})
    (record,) = caplog.records
    logged = vars(record)
    assert (logged["things"], logged["fell_silent"], logged["back"]) == (1, 1, 0)
    assert "secret-name" not in str(logged)
