"""Bring the local stack up, and take it down."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from device import aws
from local import deploy, emulator, state
from local.state import ENVIRONMENT, LOGS, State
from ops import raw_objects

# The state of the queues was copied shortly before it was written.
_SAVING = timedelta(seconds=5)

# Shows a line of progress while its context lasts.
Progress = Callable[[str], contextlib.AbstractContextManager[object]]


def up(progress: Progress, *, keep: bool = False) -> State:
    """Return the stack that is up and current, started and deployed as far as needed.

    Args:
        progress: Called for each step.
        keep: Leave it up until ``down``, even if its starter would have stopped it.

    Raises:
        LocalError: It cannot be synthesized (then nothing has changed) or deployed (a stack that
            was up stays up as it was), or a part of it did not start (then nothing runs).
    """
    with state.changing():
        return _up(progress, keep=keep)


@contextlib.contextmanager
def in_use(progress: Progress, *, keep: bool = False) -> Iterator[State]:
    """Keep the stack up while the context lasts; its last user stops it.

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
    """Stop the stack; its data stays. Return whether there was one."""
    with state.changing():
        return _stop()


def _up(progress: Progress, *, keep: bool) -> State:
    # A killed command may have left one at work, which keeps others from the same folder.
    state.stop_processes(role="cdk")
    fingerprint = deploy.fingerprint()
    running = current()
    if running is None:
        running = _start(fingerprint, progress)
    elif running.deployed != fingerprint:
        with progress("synthesize the changed stack"):
            deploy.synthesize()
        _deploy(progress)
        running = replace(running, deployed=fingerprint)
    running = replace(running, keep=running.keep or keep)
    state.save(running)
    return running


def _start(fingerprint: str, progress: Progress) -> State:
    before = state.deployed()
    if before == fingerprint:
        _clear()
        with _stopped_on_error():
            settings = _start_emulator(progress)
            _start_firehose()
    elif before is not None:
        # A contract that is wrong ends this before anything changes.
        with progress("synthesize the changed stack"):
            deploy.synthesize()
        _clear()
        with _stopped_on_error():
            settings = _start_emulator(progress)
            _deploy(progress)
    else:
        _clear()
        state.remove_data()
        # Synthesis needs no emulator: the two take their time together.
        with ThreadPoolExecutor() as threads, _stopped_on_error():
            assembly = threads.submit(deploy.synthesize)
            settings = _start_emulator(progress)
            with progress("bootstrap the CDK"):
                deploy.bootstrap()
            with progress("synthesize the stack"):
                assembly.result()
            _deploy(progress)
    return State(settings.endpoint_url, settings.mqtt_port, deployed=fingerprint, keep=False)


@contextlib.contextmanager
def _stopped_on_error() -> Iterator[None]:
    """Stop what was started if the rest fails, also after Ctrl-C."""
    try:
        yield
    except BaseException:
        _stop()
        raise


def _clear() -> None:
    """Stop what an earlier run has left, and delete its logs; the data stays."""
    _stop()
    shutil.rmtree(LOGS, ignore_errors=True)


def _start_emulator(progress: Progress) -> emulator.EmulatorSettings:
    with contextlib.suppress(FileNotFoundError):
        saved_at = emulator.saved_at()
    with progress("start the emulator"):
        settings = emulator.start()
    if state.deployed() is not None:
        with progress("load its data"):
            _parse_again(saved_at - _SAVING)
    return settings


def _parse_again(since: datetime) -> None:
    """Have the raw objects parsed whose events the emulator may have lost when it was killed."""
    session = aws.session_for(ENVIRONMENT).session
    s3, sqs = session.client("s3"), session.client("sqs")
    bucket = aws.stack_outputs(session.client("cloudformation"), ENVIRONMENT)["RawBucket"]
    notified = s3.get_bucket_notification_configuration(Bucket=bucket)
    for queue in notified.get("QueueConfigurations", []):
        url = sqs.get_queue_url(QueueName=queue["QueueArn"].rpartition(":")[2])["QueueUrl"]
        (prefix,) = (
            rule["Value"]
            for rule in queue["Filter"]["Key"]["FilterRules"]
            if rule["Name"].lower() == "prefix"
        )
        for entry in aws.listed(s3, "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix):
            if entry["LastModified"] >= since:
                sqs.send_message(QueueUrl=url, MessageBody=raw_objects.event(bucket, entry["Key"]))


def _deploy(progress: Progress) -> None:
    with progress("deploy the stack"):
        deploy.deploy()
        _start_firehose()
        emulator.save()


def _start_firehose() -> None:
    """Restart Firehose's stand-in, for the channels that are deployed now."""
    state.stop_processes(role="firehose")
    state.spawn("firehose", [sys.executable, "-m", "local.firehose"])


def _stop() -> bool:
    with contextlib.suppress(OSError):
        emulator.save()
    state.forget()
    return state.stop_processes()
