"""Bring the local stack up, and take it down."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from botocore.exceptions import BotoCoreError, ClientError

import contracts
from contracts import names
from device.aws import session_for
from local import deploy, emulator, state
from local.state import ENVIRONMENT, HOME, IDENTITIES, LocalError, State

_ATTACH_SECONDS = 30

# Shows a line of progress while its context lasts.
Progress = Callable[[str], contextlib.AbstractContextManager[object]]


def up(progress: Progress, *, keep: bool = False) -> State:
    """Return the stack that is up and current, started and deployed as far as needed.

    Args:
        progress: Called for each step.
        keep: Leave it up for good, also if its starter would have taken it down.

    Raises:
        LocalError: A part of it did not start; nothing is left running then.
    """
    with state.changing():
        return _up(progress, keep=keep)


@contextlib.contextmanager
def in_use(progress: Progress, *, keep: bool = False) -> Iterator[State]:
    """Have the stack up for as long as the context lasts; its last user takes it down.

    Raises:
        LocalError: As ``up``.
    """
    with contextlib.ExitStack() as use:
        with state.changing():
            running = _up(progress, keep=keep)
            use.enter_context(state.using())
        try:
            yield running
        finally:
            use.close()
            with state.changing():
                left = state.load()
                if left is not None and not left.keep and not state.in_use():
                    _stop()


def current() -> State | None:
    """The stack, if all of it is up and answers."""
    running = state.load()
    return running if running is not None and emulator.answers(running.endpoint_url) else None


def down() -> bool:
    """Stop the stack; its data is gone. Return whether there was one."""
    with state.changing():
        return _stop()


def _up(progress: Progress, *, keep: bool) -> State:
    fingerprint = deploy.fingerprint()
    running = current()
    try:
        if running is None:
            running = _start(fingerprint, progress)
        elif running.deployed != fingerprint:
            running = _redeploy(running, fingerprint, progress)
    except BaseException:
        # Also after Ctrl-C: a stack that is half up is of no use to anyone.
        _stop()
        raise
    running = replace(running, keep=running.keep or keep)
    state.save(running)
    return running


def _start(fingerprint: str, progress: Progress) -> State:
    _stop()
    for name in ("logs", "s3", "state", "tmp", "tls"):
        shutil.rmtree(HOME / name, ignore_errors=True)
    with ThreadPoolExecutor() as threads:
        # Synthesis needs no emulator: the two take their time together.
        assembly = threads.submit(deploy.synthesize)
        with progress("start the emulator"):
            endpoint_url, mqtt_port = emulator.start()
        with progress("bootstrap the CDK"):
            deploy.bootstrap()
        with progress("synthesize the stack"):
            assembly.result()
    with progress("deploy the stack"):
        deploy.deploy()
    with progress("start Firehose's stand-in"):
        _start_firehose()
    return State(endpoint_url, mqtt_port, deployed=fingerprint, keep=False)


def _redeploy(running: State, fingerprint: str, progress: Progress) -> State:
    with progress("synthesize the changed stack"):
        deploy.synthesize()
    with progress("deploy the changed stack"):
        deploy.deploy()
        state.stop_processes(role="firehose")
        _start_firehose()
    return replace(running, deployed=fingerprint)


def _stop() -> bool:
    state.forget()
    found = state.stop_processes()
    # The emulator forgets every certificate when it stops: what is left here identifies nobody.
    shutil.rmtree(IDENTITIES, ignore_errors=True)
    return found


def _start_firehose() -> None:
    state.spawn("firehose", [sys.executable, "-m", "local.firehose"], os.environ)
    iot = session_for(ENVIRONMENT).session.client("iot")
    until = time.monotonic() + _ATTACH_SECONDS
    waiting = [names.rule_name(ENVIRONMENT, channel) for channel in contracts.channels()]
    while waiting:
        with contextlib.suppress(BotoCoreError, ClientError):
            actions = iot.get_topic_rule(ruleName=waiting[0])["rule"]["actions"]
            if any("sqs" in action for action in actions):
                waiting.pop(0)
                continue
        if time.monotonic() > until:
            raise LocalError("Firehose's stand-in did not start; see .local/logs/firehose.log")
        time.sleep(0.1)
