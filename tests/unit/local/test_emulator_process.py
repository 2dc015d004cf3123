"""local.emulator_process: the Firehose action that the emulator's rules engine lacks."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.emulator_process import install_firehose_action
from local.firehose_buffer import Buffer

EVENT = {"payload": "e30=", "topic": "dt/local/a/telemetry"}


def rules_engine(folder: Path) -> tuple[Any, list[object]]:
    """What the action uses of ministack, and the actions that ministack's own function ran."""
    others: list[object] = []

    async def dispatch(*arguments: object) -> None:
        others.append(arguments[3])

    iot = SimpleNamespace(_dispatch_rule_action=dispatch)
    install_firehose_action(iot, folder)
    return iot, others


def run(iot: Any, action: dict[str, Any]) -> None:
    asyncio.run(iot._dispatch_rule_action("account", "region", "local_telemetry", action, EVENT))


def test_the_record_of_a_firehose_action_is_on_disk_when_the_action_ends(tmp_path: Path) -> None:
    iot, others = rules_engine(tmp_path)
    run(iot, {"firehose": {"deliveryStreamName": "stream"}})
    buffer = Buffer(tmp_path, "local_telemetry")
    buffer.close()
    (batch,) = buffer.batches()
    assert [json.loads(record) for record in batch.records] == [EVENT]
    assert others == []


def test_every_other_action_is_left_to_the_emulator(tmp_path: Path) -> None:
    iot, others = rules_engine(tmp_path)
    run(iot, {"sqs": {"queueUrl": "url"}})
    assert others == [{"sqs": {"queueUrl": "url"}}]
    assert Buffer(tmp_path, "local_telemetry").is_empty()


def test_ends_the_emulator_rather_than_acknowledge_what_cannot_be_stored(tmp_path: Path) -> None:
    (tmp_path / "buffers").write_text("a file where the folder should be")
    iot, _ = rules_engine(tmp_path / "buffers")
    with pytest.raises(SystemExit, match="cannot write to"):
        run(iot, {"firehose": {"deliveryStreamName": "stream"}})
