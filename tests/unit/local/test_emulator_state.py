"""local.emulator_state: what is saved before an answer, and what is finished after a restart."""

import asyncio
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from local.emulator_state import SAVE_PATH, StateOnDisk
from local.state import ROOT


class FakeEmulator:
    """What the saving uses of ministack; ``events`` is what happened, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.stacks = {"a": {"StackStatus": "UPDATE_IN_PROGRESS"}}
        self.queues = {"q": {"messages": [{"visible_at": time.time() + 1800}]}}
        modules = {
            "cloudformation": SimpleNamespace(_stacks=SimpleNamespace(_data=self.stacks)),
            "sqs": SimpleNamespace(_queues=SimpleNamespace(_data=self.queues)),
        }
        self.app: Any = SimpleNamespace(
            app=self.serve,
            save_all=lambda services: self.events.extend(f"saved {name}" for name in services),
            _build_persistence_save_dict=lambda: {"iot": dict, "s3": dict},
            _load_persisted_state=lambda: self.events.append("loaded"),
            _get_module=modules.__getitem__,
        )
        self.iot: Any = SimpleNamespace(_fleet_provisioning_reply=self.reply)
        StateOnDisk(self.app, self.iot).install()

    async def serve(self, _scope: object, _receive: object, send: Any) -> None:
        await send({"type": "http.response.start"})

    async def reply(self, *_arguments: object) -> str:
        return "accepted"

    def request(self, method: str, path: str, service: str) -> None:
        credential = f"AWS4-HMAC-SHA256 Credential=local/20261125/us-east-1/{service}/aws4_request"
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(b"authorization", credential.encode())],
        }

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.events.append("answered")

        asyncio.run(self.app.app(scope, None, send))


@pytest.fixture
def emulator() -> FakeEmulator:
    return FakeEmulator()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_saves_what_changes_aws_iot_before_it_is_answered(
    method: str, emulator: FakeEmulator
) -> None:
    emulator.request(method, "/certificates", "iot")
    assert emulator.events == ["saved iot", "answered"]


@pytest.mark.parametrize(("method", "service"), [("GET", "iot"), ("POST", "sqs")])
def test_answers_everything_else_at_once(method: str, service: str, emulator: FakeEmulator) -> None:
    emulator.request(method, "/", service)
    assert emulator.events == ["answered"]


def test_saves_everything_when_asked(emulator: FakeEmulator) -> None:
    emulator.request("GET", SAVE_PATH, "none")
    assert emulator.events == ["saved iot", "saved s3", "answered"]


def test_saves_what_a_device_registers_by_itself_before_it_is_answered(
    emulator: FakeEmulator,
) -> None:
    assert asyncio.run(emulator.iot._fleet_provisioning_reply()) == "accepted"
    assert emulator.events == ["saved iot"]


def test_finishes_what_nobody_works_on_after_a_restart(emulator: FakeEmulator) -> None:
    emulator.app._load_persisted_state()
    assert emulator.events == ["loaded"]
    assert emulator.stacks["a"]["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert emulator.queues["q"]["messages"][0]["visible_at"] <= time.time()


def test_ministack_has_everything_that_the_additions_use() -> None:
    code = (
        "from ministack import app; from ministack.core import persistence\n"
        "from ministack.services import cloudformation, iot, sqs\n"
        "app.app, app.save_all, app._build_persistence_save_dict, app._load_persisted_state\n"
        "app._get_module, iot._dispatch_rule_action, iot._fleet_provisioning_reply\n"
        "cloudformation._stacks._data, sqs._queues._data\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
