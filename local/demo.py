"""The whole pipeline at work: a handful of devices, good readings and bad ones, and the sums."""

import base64
import contextlib
import gzip
import io
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

import contracts
from contracts import names
from device import aws
from device.delivery import mqtt
from device.identity import Identity
from device.readings.simulator import Simulator
from device.registry.registration import provision
from local import stack
from local.state import ENVIRONMENT, HOME, ROOT, LocalError, write_privately
from ops.athena import Answer, run
from ops.tables import table_text

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIGURES = HOME / "demo.json"

CHANNEL = "telemetry"
_SENSORS = 4
_READINGS_PER_SENSOR = 60
_PACKED_MESSAGES = 2
_READINGS_PER_PACK = 100
_WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Message:
    """One payload, and how many readings in it are good and bad; a payload is at least one."""

    payload: bytes
    good: int
    bad: int


@dataclass(slots=True)
class Figures:
    """What happened at each hop, of this run's devices only.

    Attributes:
        published: Messages that the broker acknowledged.
        refused: Messages that the broker refused: the impostor's.
        unknown: Messages without an answer.
        good: Acknowledged readings that fit the contract, by the way in which they were sent.
        readings_bad: Acknowledged readings that do not; a message without readings counts as one.
        raw_objects: Objects in the raw bucket with messages of this run.
        raw_messages: Messages in them.
        readings_parsed: Rows in the Parquet files.
        readings_rejected: Lines in the rejected files.
        reasons: Reasons of the rejected lines, with how many lines each.
        athena_rows: Rows that Athena counts.
        seconds: From start to answer.
    """

    published: int = 0
    refused: int = 0
    unknown: int = 0
    good: Counter[str] = field(default_factory=Counter)
    readings_bad: int = 0
    raw_objects: int = 0
    raw_messages: int = 0
    readings_parsed: int = 0
    readings_rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    athena_rows: int = 0
    seconds: float = 0.0

    @property
    def readings_good(self) -> int:
        """Acknowledged readings that fit the contract."""
        return self.good.total()

    def sums(self) -> dict[str, bool]:
        """What must hold, and whether it does."""
        return {
            f"{self.published} acknowledged = {self.raw_messages} in the raw bucket": (
                self.published == self.raw_messages
            ),
            f"{self.readings_good} good readings sent = {self.readings_parsed} rows": (
                self.readings_good == self.readings_parsed
            ),
            f"{self.readings_bad} bad readings sent = {self.readings_rejected} rejected": (
                self.readings_bad == self.readings_rejected
            ),
            f"{self.readings_parsed} rows = {self.athena_rows} counted by Athena": (
                self.readings_parsed == self.athena_rows
            ),
            f"{self.refused} of 1 forged message refused": self.refused == 1,
            "every message was answered": self.unknown == 0,
        }


def run_demo(console: Console, progress: stack.Progress, *, keep: bool) -> Figures:
    """Show the pipeline at work, and write the figures to ``.local/demo.json``.

    Args:
        console: For people.
        progress: Called for each step.
        keep: Leave the stack up.

    Raises:
        LocalError: The stack did not start, messages got lost, or a sum is wrong.
    """
    started = time.monotonic()
    FIGURES.unlink(missing_ok=True)
    with stack.in_use(progress, keep=keep):
        environment = aws.session_for(ENVIRONMENT)
        figures, things = Figures(), _thing_names()
        with progress(f"provision {len(things)} devices, each with its own certificate"):
            identities = [provision(environment, thing, lambda _: None) for thing in things]
        _publish(identities, figures, progress)
        lake = _Lake(environment, things)
        with progress("wait for the batches in the raw bucket"):
            _wait_for("messages in the raw bucket", lambda: _raw(lake, figures), figures.published)
        with progress("wait for the parser"):
            expected = figures.readings_good + figures.readings_bad
            _wait_for("parsed or rejected readings", lambda: _parsed(lake, figures), expected)
        with progress("ask Athena"):
            sql, answer = _ask(environment, things)
        figures.athena_rows = sum(int(row[1] or 0) for row in answer.rows)
        figures.seconds = round(time.monotonic() - started, 1)
        sums = figures.sums()
        _write(figures, ok=all(sums.values()))
        _show(console, figures, sql, answer)
    if not all(sums.values()):
        raise LocalError(f"the sums do not agree; see {HOME.relative_to(ROOT)}/logs")
    return figures


def _thing_names() -> list[str]:
    # Names of this run alone, so that the sums agree in a stack that stayed up, too.
    run_id = secrets.token_hex(2)
    sensors = [f"sensor-{run_id}-{number}" for number in range(1, _SENSORS + 1)]
    return [*sensors, f"gateway-{run_id}"]


def _publish(identities: list[Identity], figures: Figures, progress: stack.Progress) -> None:
    *sensors, gateway = identities
    contract = contracts.load(CHANNEL)
    simulators = [
        Simulator(contract, seed=seed, clock=time.time) for seed, _ in enumerate(identities)
    ]
    with progress(
        f"{len(sensors)} sensors publish {_READINGS_PER_SENSOR} readings each, one per message"
    ):
        for identity, simulator in zip(sensors, simulators, strict=False):
            singles = [
                Message(_json(simulator.reading()), good=1, bad=0)
                for _ in range(_READINGS_PER_SENSOR)
            ]
            _send(identity, singles, figures, "sent one per message")
    with progress(f"a gateway packs {_READINGS_PER_PACK} readings into each message, with gzip"):
        packs = [
            Message(
                gzip.compress(_json([simulators[-1].reading() for _ in range(_READINGS_PER_PACK)])),
                good=_READINGS_PER_PACK,
                bad=0,
            )
            for _ in range(_PACKED_MESSAGES)
        ]
        _send(gateway, packs, figures, "packed")
    with progress("a broken device sends what no contract allows"):
        _send(
            sensors[0],
            list(_bad_messages(simulators[0].reading)),
            figures,
            "packed beside a bad one",
        )
    with progress("an impostor publishes to another device's topic"):
        forged = [Message(_json(simulators[0].reading()), good=1, bad=0)]
        _send(gateway, forged, figures, "forged", thing_name=sensors[0].device.thing_name)


def _bad_messages(reading: Callable[[], dict[str, Any]]) -> Iterator[Message]:
    yield Message(b"battery low, please help", good=0, bad=1)
    yield Message(bytes(range(256)), good=0, bad=1)
    yield Message(b"", good=0, bad=1)
    yield Message(_json({**reading(), "temperature": "21.5"}), good=0, bad=1)
    yield Message(_json({**reading(), "humidity": 130}), good=0, bad=1)
    yield Message(_json({"temperature": 21.5}), good=0, bad=1)
    yield Message(_json(reading())[:-10], good=0, bad=1)
    yield Message(gzip.compress(_json(reading()))[:-10], good=0, bad=1)
    # One bad reading in a packed message costs itself only.
    yield Message(_json([reading(), {**reading(), "status": "on fire"}, reading()]), good=2, bad=1)


def _send(
    identity: Identity,
    messages: list[Message],
    figures: Figures,
    kind: str,
    *,
    thing_name: str | None = None,
) -> None:
    device = identity.device
    topic = names.basic_ingest_topic(ENVIRONMENT, thing_name or device.thing_name, CHANNEL)
    with mqtt.Connection(identity) as connection:
        answers = [connection.publish(topic, message.payload) for message in messages]
        outcomes = [answer.result().outcome for answer in answers]
    for message, outcome in zip(messages, outcomes, strict=True):
        if outcome is mqtt.Outcome.ACKNOWLEDGED:
            figures.published += 1
            figures.good[kind] += message.good
            figures.readings_bad += message.bad
        elif outcome is mqtt.Outcome.REFUSED:
            figures.refused += 1
        else:
            figures.unknown += 1


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _Lake:
    """What is in the buckets of this run's devices; each object is read once."""

    def __init__(self, environment: aws.AwsEnvironment, things: list[str]) -> None:
        self._s3: S3Client = environment.session.client("s3")
        self._buckets = stack.outputs(environment.session)
        self._things = set(things)
        self._objects: dict[str, bytes] = {}

    def bodies(self, bucket: str, prefix: str) -> Iterator[bytes]:
        """Every object under ``prefix``."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._buckets[bucket], Prefix=prefix
        )
        for page in pages:
            for entry in page.get("Contents", []):
                # The parser may write a key again; its ETag then changes.
                version = f"{entry['Key']} {entry['ETag']}"
                if version not in self._objects:
                    # Gone between the two calls: it is not in the bucket.
                    with contextlib.suppress(ClientError):
                        answer = self._s3.get_object(Bucket=self._buckets[bucket], Key=entry["Key"])
                        self._objects[version] = answer["Body"].read()
                if version in self._objects:
                    yield self._objects[version]

    def is_ours(self, raw_line: bytes) -> bool:
        """Whether a line of the raw bucket is a message of this run's devices."""
        return json.loads(raw_line)["topic"].split("/")[2] in self._things

    def has(self, thing_name: str) -> bool:
        """Whether the thing is one of this run."""
        return thing_name in self._things


def _raw(lake: _Lake, figures: Figures) -> int:
    counts = [
        sum(lake.is_ours(line) for line in gzip.decompress(body).splitlines())
        for body in lake.bodies("RawBucket", f"raw/{CHANNEL}/")
    ]
    figures.raw_objects = sum(count > 0 for count in counts)
    figures.raw_messages = sum(counts)
    return figures.raw_messages


def _parsed(lake: _Lake, figures: Figures) -> int:
    figures.readings_parsed = sum(
        lake.has(thing)
        for body in lake.bodies("ParsedBucket", f"parsed/{CHANNEL}/")
        for thing in pq.read_table(io.BytesIO(body), columns=["thing_name"])[
            "thing_name"
        ].to_pylist()
    )
    rejected = [
        json.loads(line)
        for body in lake.bodies("ParsedBucket", f"rejected/{CHANNEL}/")
        for line in gzip.decompress(body).splitlines()
    ]
    ours = [line for line in rejected if lake.is_ours(base64.b64decode(line["line"]))]
    figures.readings_rejected = len(ours)
    figures.reasons = Counter(f"{line['path'] or '$'}: {line['reason']}" for line in ours)
    return figures.readings_parsed + figures.readings_rejected


def _wait_for(what: str, count: Callable[[], int], expected: int) -> None:
    until = time.monotonic() + _WAIT_SECONDS
    while (found := count()) < expected:
        if time.monotonic() > until:
            raise LocalError(
                f"expected {expected} {what} within {_WAIT_SECONDS} s, got {found}; "
                f"see {HOME.relative_to(ROOT)}/logs"
            )
        time.sleep(0.3)


def _ask(environment: aws.AwsEnvironment, things: list[str]) -> tuple[str, Answer]:
    listed = ", ".join(f"'{thing}'" for thing in things)
    sql = (
        "SELECT thing_name, count(*) AS readings, round(avg(temperature), 1) AS avg_temperature, "
        f"max(timestamp) AS newest\nFROM {CHANNEL}\nWHERE thing_name IN ({listed})\n"
        "GROUP BY thing_name ORDER BY thing_name"
    )
    return sql, run(environment, sql)


def _write(figures: Figures, *, ok: bool) -> None:
    document = {
        "ok": ok,
        "published": figures.published,
        "refused": figures.refused,
        "unknown": figures.unknown,
        "readings_sent": figures.readings_good + figures.readings_bad,
        "raw_objects": figures.raw_objects,
        "raw_messages": figures.raw_messages,
        "readings_parsed": figures.readings_parsed,
        "readings_rejected": figures.readings_rejected,
        "reasons": dict(figures.reasons.most_common()),
        "athena_rows": figures.athena_rows,
        "seconds": figures.seconds,
    }
    write_privately(FIGURES, json.dumps(document, indent=2) + "\n")


def _show(console: Console, figures: Figures, sql: str, answer: Answer) -> None:
    hops = Table(show_edge=False, box=None, pad_edge=False, padding=(0, 2))
    for column in ("hop", "what happened"):
        hops.add_column(column)
    hops.add_row(
        "device → IoT Core",
        f"{figures.published} messages acknowledged, {figures.refused} refused (the impostor's)",
    )
    hops.add_row(
        "rule → Firehose → raw bucket",
        f"{figures.raw_messages} messages, objects: {figures.raw_objects}",
    )
    ways = " + ".join(f"{count} {kind}" for kind, count in figures.good.items() if count)
    hops.add_row("parser → parsed/", f"{figures.readings_parsed} rows of Parquet = {ways}")
    hops.add_row("parser → rejected/", f"{figures.readings_rejected} readings rejected, because")
    for reason, count in figures.reasons.most_common():
        hops.add_row("", f"  {count} x {reason}")
    hops.add_row("Athena", f"{figures.athena_rows} rows")
    console.print()
    console.print(hops)
    console.print(f"\n[dim]{sql}[/]\n")
    console.print(table_text(answer), markup=False, highlight=False)
    console.print()
    for text, holds in figures.sums().items():
        console.print(f"  [green]✓[/] {text}" if holds else f"  [red]✗ {text}[/]")
    console.print(f"\n{figures.seconds:.0f} s; the figures are in {FIGURES.relative_to(ROOT)}")
