"""The emulator's process: ministack, with three additions that the local stack needs.

- It signs certificate requests over MQTT (``emulator_signing``), which fleet provisioning needs.
- It runs a topic rule's Firehose action: each record goes to the buffer on disk
  (``firehose_buffer``) before the message is acknowledged. ``local.firehose`` delivers the buffer.
- It keeps its state on disk (``emulator_state``), so that a killed emulator loses nothing.

Everything else is ministack's. The additions use its internals; its version is pinned.
"""

import json
from pathlib import Path
from typing import Any

from local.emulator_signing import SigningOverMqtt
from local.emulator_state import StateOnDisk
from local.firehose_buffer import Buffer
from local.state import BUFFERS


def install_firehose_action(iot: Any, folder: Path) -> None:
    """Make the emulator's rules engine run Firehose actions.

    Args:
        iot: The emulator's module; its own function runs every other action.
        folder: Where the buffers are.
    """
    others = iot._dispatch_rule_action

    async def dispatch(
        account_id: str, region: str, rule_name: str, action: dict[str, Any], event: object
    ) -> None:
        if "firehose" not in action:
            await others(account_id, region, rule_name, action, event)
            return
        try:
            Buffer(folder, rule_name).append(json.dumps(event))
        except OSError as error:
            # The emulator would acknowledge the message all the same, and it would be lost.
            raise SystemExit(f"error: cannot write to {folder}: {error.strerror}") from None

    iot._dispatch_rule_action = dispatch


def main() -> None:
    """Run the emulator, as ``python -m ministack`` does."""
    # Importing ministack has effects that only its own process should have.
    from ministack import app  # noqa: PLC0415
    from ministack.services import iot  # noqa: PLC0415

    SigningOverMqtt(iot).install()
    install_firehose_action(iot, BUFFERS)
    StateOnDisk(app, iot).install()
    app.main()


if __name__ == "__main__":
    main()
