"""Keep the emulator's state on disk while it runs, so that ``kill -9`` and a reboot lose nothing.

ministack writes S3 objects at once, but everything else only at the end of a clean shutdown.
``StateOnDisk`` also writes

- the state of AWS IoT before each change is answered: an identity that a device holds is known
  after a restart;
- the state of every service, at most ``_INTERVAL_SECONDS`` after a request, and when
  ``SAVE_PATH`` is requested.

What is younger than the last save can be derived: ``local.stack`` has recent raw objects parsed
again. STS sessions are not kept; their users assume their roles again.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

SAVE_PATH = "/_local/save"

_INTERVAL_SECONDS = 5
_IOT_CREDENTIAL_SCOPE = b"/iot/aws4_request"

Send = Callable[[dict[str, Any]], Awaitable[None]]


class StateOnDisk:
    """Saves the emulator's state; an ASGI application around the emulator's own.

    Args:
        app: The emulator's module.
        iot: The emulator's module of AWS IoT.
    """

    def __init__(self, app: Any, iot: Any) -> None:
        self._app = app
        self._iot = iot
        self._serve = app.app
        self._load = app._load_persisted_state
        self._save_all = app.save_all
        self._reply = iot._fleet_provisioning_reply
        self._changed = threading.Event()
        self._saving = threading.Lock()

    def install(self) -> None:
        """Put this in the place of the emulator's application, and start saving."""
        self._app.app = self
        self._app._load_persisted_state = self.load
        self._app.save_all = lambda _: self.save()  # at the end of a clean shutdown
        self._iot._fleet_provisioning_reply = self.reply
        threading.Thread(target=self._save_after_changes, daemon=True).start()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Serve one request; save what it changed."""
        if scope["type"] != "http" or scope["path"].startswith("/_ministack/"):
            await self._serve(scope, receive, send)
            return
        if scope["path"] == SAVE_PATH:
            await asyncio.to_thread(self.save)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = dict(scope["headers"])
        changes_iot = scope["method"] != "GET" and _IOT_CREDENTIAL_SCOPE in headers.get(
            b"authorization", b""
        )

        async def saved_first(message: dict[str, Any]) -> None:
            if changes_iot and message["type"] == "http.response.start":
                await asyncio.to_thread(self.save, only="iot")
            await send(message)

        await self._serve(scope, receive, saved_first)
        self._changed.set()

    async def reply(self, *arguments: Any) -> Any:
        """Answer a request of fleet provisioning, which is one more change of AWS IoT."""
        answer = await self._reply(*arguments)
        await asyncio.to_thread(self.save, only="iot")
        self._changed.set()
        return answer

    def load(self) -> None:
        """Load the state, and finish what nobody works on any more."""
        self._load()
        stacks = self._app._get_module("cloudformation")._stacks
        for stack in stacks._data.values():
            if stack["StackStatus"].endswith("_IN_PROGRESS"):
                stack["StackStatus"] = "UPDATE_ROLLBACK_COMPLETE"
        now = time.time()
        for queue in self._app._get_module("sqs")._queues._data.values():
            for message in queue["messages"]:
                message["visible_at"] = min(message["visible_at"], now)

    def save(self, *, only: str | None = None) -> None:
        """Write the state of every service, or of one."""
        with self._saving:
            services = self._app._build_persistence_save_dict()
            self._save_all(
                {
                    name: partial(_copied, get_state)
                    for name, get_state in services.items()
                    if only in (None, name)
                }
            )

    def _save_after_changes(self) -> None:
        while True:
            self._changed.wait()
            time.sleep(_INTERVAL_SECONDS)
            self._changed.clear()
            self.save()


def _copied(get_state: Callable[[], Any]) -> Any:
    """Copy a service's state; try again when another thread changes it meanwhile."""
    for _ in range(20):
        with contextlib.suppress(RuntimeError):
            return get_state()
    return get_state()
