"""Parse again what could not be parsed: ``python -m ops.redrive --env ENV``.

Shows the events in the channel's dead-letter queue: the raw object, when it arrived, and why it
could not be parsed, which is the newest error about it in the log of the parser's function. Then
moves the events back to the parser's queue. Fix the cause first; otherwise they come back.
--dry-run only shows them. Parsing an object again overwrites its outputs, so a repeated event is
harmless.

SQS itself moves the events (StartMessageMoveTask) and continues when this command is interrupted.
Where the endpoint cannot, each event is received, sent and deleted, in this order, so that an
interruption loses none.

The credentials need cloudformation:DescribeStacks, s3:GetBucketNotification,
lambda:ListEventSourceMappings and GetFunctionConfiguration, logs:FilterLogEvents; on both queues
sqs:GetQueueUrl and GetQueueAttributes; on the dead-letter queue sqs:ReceiveMessage,
ChangeMessageVisibility, DeleteMessage, StartMessageMoveTask and ListMessageMoveTasks; and on the
parser's queue sqs:SendMessage.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import click
from botocore.exceptions import ClientError

from device import aws, cli
from device.aws import AwsEnvironment
from device.errors import AwsError, ExitStatus
from ops import parser_log
from ops.doctor.deployed import Deployed
from ops.doctor.findings import Skipped
from ops.parser_log import LoggedError
from ops.tables import printable

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_sqs import SQSClient

_MOST_SHOWN = 100
_MOST_ERRORS = 10_000
# Long enough to read or to move a batch. Events are hidden for this long if the command is killed.
_VISIBILITY_SECONDS = 60
# Most errors are new, and a log of 14 days is long; an event is kept for 14 days.
_LOG_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=14))
# How an endpoint answers that does not have the operation.
_NO_SUCH_OPERATION = {"InvalidAction", "UnknownOperation", "UnknownOperationException"}
_POLL_SECONDS = 1.0
_POLLS_UNTIL_STARTED = 30


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event in the dead-letter queue.

    Attributes:
        message_id: Of the SQS message.
        keys: Keys of the raw objects; empty if it is not an event of S3.
        sent_at: When S3 sent it.
        error: Why it failed the last time; None if the log does not say.
    """

    message_id: str
    keys: tuple[str, ...]
    sent_at: datetime
    error: LoggedError | None = None

    def record(self) -> dict[str, object]:
        """The event for ``--format json``."""
        return {
            "message_id": self.message_id,
            "raw_keys": self.keys,
            "sent_at": cli.utc(self.sent_at),
            "error": None if self.error is None else self.error.text,
            "failed_at": None if self.error is None else cli.utc(self.error.time),
        }

    def line(self) -> str:
        """The event for people."""
        what = ", ".join(self.keys) or "not an event of S3"
        why = "the function's log has no error about it" if self.error is None else self.error.text
        return printable(f"{cli.utc(self.sent_at)}  {what}: {why}")


def look(sqs: "SQSClient", url: str, most: int = _MOST_SHOWN) -> list[DeadLetter]:
    """Read up to ``most`` events, the oldest first, and leave them in the queue."""
    found: dict[str, DeadLetter] = {}
    receipts: dict[str, str] = {}
    try:
        while len(found) < most and (messages := _receive(sqs, url)):
            known = len(found)
            for message in messages:
                found[message["MessageId"]] = _dead_letter(message)
                receipts[message["MessageId"]] = message["ReceiptHandle"]
            if len(found) == known:  # only what was seen before
                break
    finally:
        for receipt in receipts.values():
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    return sorted(found.values(), key=lambda letter: letter.sent_at)


def _receive(sqs: "SQSClient", url: str) -> list[Any]:
    answer = sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=_VISIBILITY_SECONDS,
        WaitTimeSeconds=1,  # asks all of SQS's servers, not a sample of them
        AttributeNames=["SentTimestamp"],
    )
    return list(answer.get("Messages", []))


def _dead_letter(message: dict[str, Any]) -> DeadLetter:
    sent = int(message.get("Attributes", {}).get("SentTimestamp", 0))
    try:
        records = json.loads(message["Body"])["Records"]
        keys = tuple(unquote_plus(record["s3"]["object"]["key"]) for record in records)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        keys = ()
    return DeadLetter(message["MessageId"], keys, datetime.fromtimestamp(sent / 1000, UTC))


def explain(
    letters: Iterable[DeadLetter], errors_since: Callable[[datetime], Iterable[LoggedError]]
) -> list[DeadLetter]:
    """Add to each event the newest error about it.

    Args:
        letters: The events.
        errors_since: Reads the errors in the function's log since a time, the oldest first.
    """
    letters, newest = list(letters), dict[str, LoggedError]()
    for window in _LOG_WINDOWS:
        if all(letter.message_id in newest for letter in letters):
            break
        for error in errors_since(datetime.now(UTC) - window):
            if error.sqs_message_id is not None:
                known = newest.get(error.sqs_message_id, error)
                newest[error.sqs_message_id] = max(known, error, key=lambda each: each.time)
    return [replace(letter, error=newest.get(letter.message_id)) for letter in letters]


@dataclass(frozen=True, slots=True)
class Queues:
    """The dead-letter queue of one channel, and the parser's queue."""

    sqs: "SQSClient"
    dead_arn: str
    dead_url: str
    arn: str
    url: str

    def move(
        self,
        count: int,
        show: Callable[[int], None],
        wait: Callable[[float], None] = time.sleep,
    ) -> int:
        """Move the events back, and return how many.

        Args:
            count: Events in the dead-letter queue. An event that fails again meanwhile is not
                moved a second time.
            show: Called with the number of events moved so far.
            wait: Called with seconds.

        Raises:
            AwsError: SQS's task failed or was cancelled.
        """
        try:
            if self._task().get("Status") != "RUNNING":
                self.sqs.start_message_move_task(SourceArn=self.dead_arn, DestinationArn=self.arn)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NO_SUCH_OPERATION:
                raise
            return self._move_each(count, show)
        return self._follow(show, wait)

    def _task(self) -> dict[str, Any]:
        answer = self.sqs.list_message_move_tasks(SourceArn=self.dead_arn, MaxResults=1)
        return dict(next(iter(answer.get("Results", [])), {}))

    def _follow(self, show: Callable[[int], None], wait: Callable[[float], None]) -> int:
        polls = 0
        while (task := self._task()).get("Status") in {None, "RUNNING", "CANCELLING"}:
            polls += 1
            if "Status" not in task and polls > _POLLS_UNTIL_STARTED:
                raise AwsError("expected SQS to list the task that moves the events, got none")
            show(task.get("ApproximateNumberOfMessagesMoved", 0))
            wait(_POLL_SECONDS)
        moved = int(task.get("ApproximateNumberOfMessagesMoved", 0))
        if task["Status"] != "COMPLETED":
            raise AwsError(
                f"expected SQS to move the events, got {task['Status']} after {moved:,}: "
                f"{task.get('FailureReason', 'no reason given')}",
                remedy="run the same command again",
            )
        return moved

    def _move_each(self, count: int, show: Callable[[int], None]) -> int:
        moved = 0
        while moved < count and (messages := _receive(self.sqs, self.dead_url)):
            for message in messages:
                self.sqs.send_message(QueueUrl=self.url, MessageBody=message["Body"])
                self.sqs.delete_message(
                    QueueUrl=self.dead_url, ReceiptHandle=message["ReceiptHandle"]
                )
                moved += 1
                show(moved)
        return moved


@contextmanager
def deployed_pipeline(opened: AwsEnvironment, channel: str) -> Iterator[Deployed]:
    """Use the pipeline of one channel.

    Raises:
        AwsError: It is not deployed, or AWS cannot be asked.
    """
    opened.check_stack()
    try:
        with aws.explained(opened.name):
            yield Deployed(opened.client, opened.name, channel)
    except Skipped as missing:
        raise AwsError(
            f"expected the pipeline of {channel} in {opened.name} as it was deployed, "
            f"but {missing}",
            ExitStatus.NO_STACK,
            remedy=f"run {aws.deploy_command(opened.name)}",
        ) from None


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.redrive --env dev --dry-run",
        "python -m ops.redrive --env dev --channel telemetry --yes",
        "python -m ops.redrive --env dev --dry-run --format json",
    ],
    statuses=(ExitStatus.DECLINED, *cli.AWS_STATUSES),
)
@cli.environment_option()
@cli.channel_option("Contract (channel) whose dead-letter queue it is.")
@click.option("--dry-run", is_flag=True, help="Only show the events; move none.")
@click.option("--yes", is_flag=True, help="Move the events without asking; for scripts.")
@cli.format_option("text", "json")
def main(*, environment: str, channel: str, dry_run: bool, yes: bool, output_format: str) -> None:
    """Show the dead letters of one channel, and move them back."""
    opened = aws.session_for(environment)
    with deployed_pipeline(opened, channel) as deployed:
        queues = _queues(opened, deployed)
        count = deployed.events_in(queues.dead_arn)
        letters = look(queues.sqs, queues.dead_url) if count else []
        count = max(count, len(letters))
        letters = explain(
            letters,
            lambda since: parser_log.errors(
                opened.client("logs"), deployed.function, since, _MOST_ERRORS
            ),
        )
        if output_format == "text":
            for letter in letters:
                click.echo(letter.line())
            if count > len(letters):
                cli.say(f"and {cli.counted(count - len(letters), 'more event')}")
        moved = 0
        if count and not dry_run:
            if not yes:
                cli.confirm(
                    f"Move {cli.counted(count, 'event')} of {channel} in {environment}, account "
                    f"{opened.account}, back to the parser's queue?"
                )
            with cli.Progress(count) as progress:
                moved = queues.move(
                    count, lambda done: progress.show(done, f"{cli.counted(done, 'event')} moved")
                )
    if output_format == "json":
        events = [letter.record() for letter in letters]
        cli.echo_json({"dead_letters": count, "moved": moved, "events": events})
    cli.say(_summary(count, moved, dry_run=dry_run))


def _queues(opened: AwsEnvironment, deployed: Deployed) -> Queues:
    arn, dead_arn = deployed.queue_arn, deployed.dead_letter_arn
    if arn is None or dead_arn is None:
        raise Skipped("the queue has no dead-letter queue")
    return Queues(
        opened.client("sqs"), dead_arn, deployed.queue_url(dead_arn), arn, deployed.queue_url(arn)
    )


def _summary(count: int, moved: int, *, dry_run: bool) -> str:
    if not count:
        return "the dead-letter queue is empty; nothing to do"
    if dry_run:
        return f"{cli.counted(count, 'event')} in the dead-letter queue; none moved"
    left = f"; {cli.counted(count - moved, 'event')} left" if moved < count else ""
    return f"{cli.counted(moved, 'event')} moved to the parser's queue{left}"


if __name__ == "__main__":
    main(prog_name="python -m ops.redrive")
