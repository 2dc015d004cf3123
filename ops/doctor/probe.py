"""Publish one reading and follow it, hop by hop, to its row."""

import base64
import contextlib
import gzip
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

import contracts
from device.delivery import mqtt
from device.errors import ExitStatus
from device.readings.simulator import Simulator
from ops.doctor import query
from ops.doctor.context import Context, S3Object, Skipped
from ops.doctor.findings import Check, Failed, Stage
from ops.doctor.pipeline_checks import (
    dead_letters,
    failed_objects,
    function_errors,
    rejected_readings,
    undelivered_objects,
)

# How much longer than its buffering interval each hop may take before it counts as broken.
_PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.5


@dataclass
class Probe:
    """One reading on its way; each method is the check of one hop.

    The reading is a simulated one that the contract allows. It is stored like any other, with the
    time of the probe as its timestamp: tell from its ``received_at`` that it was one.
    """

    payload: bytes = b""
    _sent: float = field(default=0.0, init=False)
    _raw: S3Object | None = field(default=None, init=False)
    _line: int = field(default=0, init=False)

    def publish(self, context: Context) -> str:
        """The broker acknowledges it."""
        contract = contracts.load(context.channel)
        simulator = Simulator(contract, seed=time.time_ns(), clock=time.time)
        self.payload = json.dumps(simulator.reading(), separators=(",", ":")).encode()
        with mqtt.Connection(context.identity) as connection:
            self._sent = time.monotonic()
            self._sent_at = time.time()
            delivery = connection.publish(context.topic, self.payload).result()
        if delivery.outcome is not mqtt.Outcome.ACKNOWLEDGED:
            raise Failed(
                f"the broker did not acknowledge the probe: {delivery.reason}",
                context.provision,
            )
        interval = context.destination["BufferingHints"]["IntervalInSeconds"]
        return f"acknowledged after {self._elapsed()}; its batch closes within {interval} s"

    def arrive(self, context: Context) -> str:
        """Its batch is in the raw bucket."""
        seen: set[str] = set()

        def found() -> bool:
            for candidate in context.newest(context.raw_bucket, f"raw/{context.channel}/"):
                # The clocks of S3 and of this machine differ by less than a minute.
                if candidate.modified.timestamp() < self._sent_at - 60:
                    break
                if candidate.key not in seen and self._is_in(context, candidate):
                    return True
                seen.add(candidate.key)
            return False

        interval = context.destination["BufferingHints"]["IntervalInSeconds"]
        if not _comes(found, interval + _PATIENCE_SECONDS):
            _ask(context, undelivered_objects, failed_objects)
            raise Failed(
                f"the probe was not in the raw bucket after {self._elapsed()}",
                context.look("look at the rule's and the stream's metrics and logs"),
            )
        assert self._raw is not None  # noqa: S101  # found() has set it
        return f"after {self._elapsed()} in s3://{self._raw.bucket}/{self._raw.key}"

    def parse(self, context: Context) -> str:
        """The parser has written its batch's rows."""
        assert self._raw is not None  # noqa: S101  # arrive() has succeeded
        key = self._raw.key.replace("raw/", "parsed/", 1).removesuffix(".ndjson.gz") + ".parquet"
        s3 = context.client("s3")

        def found() -> bool:
            try:
                s3.head_object(Bucket=context.parsed_bucket, Key=key)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return False
                raise
            return True

        if not _comes(found, _PATIENCE_SECONDS):
            _ask(context, function_errors, dead_letters, rejected_readings)
            raise Failed(
                f"the probe's batch had no Parquet object after {self._elapsed()}",
                context.look("look at the function's log"),
            )
        return f"after {self._elapsed()} in s3://{context.parsed_bucket}/{key}"

    def query(self, context: Context) -> str:
        """Athena shows its row."""
        assert self._raw is not None  # noqa: S101  # arrive() has succeeded
        day = self._raw.key.split("/")[2].removeprefix("dt=")
        rows = query.run(
            context.client("athena"),
            context.environment_name,
            f"SELECT thing_name, received_at, reading_id FROM {context.channel} "
            f"WHERE dt = '{day}' AND raw_key = '{self._raw.key}' AND raw_line = {self._line}",
        )
        if not rows:
            _ask(context, rejected_readings)
            raise Failed("the probe's row is not in the table", context.deploy)
        name, received, reading_id = rows[0]
        return f"after {self._elapsed()}: {name} at {received} UTC, reading_id {reading_id}"

    def _is_in(self, context: Context, candidate: S3Object) -> bool:
        expected = base64.b64encode(self.payload)
        try:
            lines = gzip.decompress(context.body(candidate)).split(b"\n")
        except (OSError, EOFError, zlib.error):  # someone else's; Firehose's are whole
            return False
        for number, line in enumerate(lines, 1):
            if expected in line and json.loads(line)["topic"] == context.plain_topic:
                self._raw, self._line = candidate, number
                return True
        return False

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._sent:.1f} s"


def _comes(found: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _ask(context: Context, *checks: Check) -> None:
    """Let these checks, which found nothing before the probe, raise what they find after it."""
    for check in checks:
        with contextlib.suppress(Skipped):
            check(context)


def stage(needs: tuple[str, ...]) -> Stage:
    """A stage that sends one probe."""
    probe = Probe()
    return Stage(
        "probe",
        ExitStatus.PROBE,
        {
            "published": probe.publish,
            "raw": probe.arrive,
            "parsed": probe.parse,
            "row": probe.query,
        },
        needs=needs,
    )
