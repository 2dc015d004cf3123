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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from rich.console import Console

import contracts
from contracts import names
from device import aws, compact_json
from device.delivery import mqtt
from device.identity import Identity
from device.readings.simulator import Simulator
from device.registry.registration import provision
from local import stack
from local.figures import FIGURES, Figures, show, write
from local.state import ENVIRONMENT, HOME, ROOT, LocalError
from ops.athena import Answer, run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHANNEL = "telemetry"
_SENSORS = 4
_READINGS_PER_SENSOR = 60
_PACKED_MESSAGES = 2
_READINGS_PER_PACK = 100
_WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class DemoMessage:
    """One payload, and how many good and bad readings it holds.

    A payload that holds no readings counts as a bad one.
    """

    payload: bytes
    good: int
    bad: int


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
        write(figures)
        show(console, figures, sql, answer)
    if not all(figures.sums().values()):
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
                DemoMessage(compact_json.encode(simulator.reading()), good=1, bad=0)
                for _ in range(_READINGS_PER_SENSOR)
            ]
            _send(identity, singles, figures, "sent one per message")
    with progress(f"a gateway packs {_READINGS_PER_PACK} readings into each message, with gzip"):
        packs = [
            [simulators[-1].reading() for _ in range(_READINGS_PER_PACK)]
            for _ in range(_PACKED_MESSAGES)
        ]
        packed = [gzip.compress(compact_json.encode(pack)) for pack in packs]
        messages = [DemoMessage(payload, good=_READINGS_PER_PACK, bad=0) for payload in packed]
        _send(gateway, messages, figures, "packed")
    with progress("a broken device sends what no contract allows"):
        messages = list(_bad_messages(simulators[0].reading))
        _send(sensors[0], messages, figures, "packed beside a bad one")
    with progress("an impostor publishes to another device's topic"):
        forged = [DemoMessage(compact_json.encode(simulators[0].reading()), good=1, bad=0)]
        _send(gateway, forged, figures, "forged", thing_name=sensors[0].device.thing_name)


def _bad_messages(reading: Callable[[], dict[str, Any]]) -> Iterator[DemoMessage]:
    for payload in (
        b"battery low, please help",
        bytes(range(256)),
        b"",
        compact_json.encode({**reading(), "temperature": "21.5"}),
        compact_json.encode({**reading(), "humidity": 130}),
        compact_json.encode({"temperature": 21.5}),
        compact_json.encode(reading())[:-10],
        gzip.compress(compact_json.encode(reading()))[:-10],
    ):
        yield DemoMessage(payload, good=0, bad=1)
    # One bad reading in a packed message costs itself only.
    pack = [reading(), {**reading(), "status": "on fire"}, reading()]
    yield DemoMessage(compact_json.encode(pack), good=2, bad=1)


def _send(
    identity: Identity,
    messages: list[DemoMessage],
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
        if outcome is mqtt.PublishOutcome.ACKNOWLEDGED:
            figures.published += 1
            figures.good[kind] += message.good
            figures.readings_bad += message.bad
        elif outcome is mqtt.PublishOutcome.REFUSED:
            figures.refused += 1
        else:
            figures.unknown += 1


class _Lake:
    """What is in the buckets of this run's devices; each object is read once."""

    def __init__(self, environment: aws.AwsEnvironment, things: list[str]) -> None:
        self._s3: S3Client = environment.session.client("s3")
        self._outputs = aws.stack_outputs(environment.client("cloudformation"), ENVIRONMENT)
        self.things = set(things)
        self._objects: dict[str, bytes] = {}

    def bodies(self, bucket: str, prefix: str) -> Iterator[bytes]:
        """Every object under ``prefix``."""
        name = self._outputs[bucket]
        found = aws.listed(self._s3, "list_objects_v2", "Contents", Bucket=name, Prefix=prefix)
        for entry in found:
            # The parser may write a key again; its ETag then changes.
            version = f"{entry['Key']} {entry['ETag']}"
            if version not in self._objects:
                # An object that is gone by now is not in the bucket.
                with contextlib.suppress(self._s3.exceptions.NoSuchKey):
                    answer = self._s3.get_object(Bucket=name, Key=entry["Key"])
                    self._objects[version] = answer["Body"].read()
            if version in self._objects:
                yield self._objects[version]

    def is_ours(self, raw_line: bytes) -> bool:
        """Whether a line of the raw bucket is a message of this run's devices."""
        return json.loads(raw_line)["topic"].split("/")[2] in self.things


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
        thing in lake.things
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
