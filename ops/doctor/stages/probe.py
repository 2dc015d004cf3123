"""Publish one reading and follow it, hop by hop, to its row."""

import time

import contracts
from device import compact_json
from device.delivery import mqtt
from device.errors import ExitStatus
from device.readings.simulator import Simulator
from ops import athena
from ops.doctor import buckets, remedies
from ops.doctor.buckets import ListedObject
from ops.doctor.changes import Changes
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed
from ops.doctor.stages import delivery, parser_work, readings
from ops.doctor.waiting import in_time

# How much longer than its buffering interval each hop may take before it counts as broken.
_PATIENCE_SECONDS = 90.0

# If the probe is lost, one of these checks may find the cause.
_EXPLANATIONS = (
    *(delivery.undelivered_objects, delivery.failed_objects),
    *(parser_work.errors, parser_work.dead_letters, readings.rejected),
)


class Probe:
    """One reading on its way; each method is the check of one hop.

    The reading is a simulated one that the contract allows. It is stored like any other, with the
    time of the probe as its timestamp.
    """

    def __init__(self) -> None:
        self._payload = b""
        self._sent_at = self._started = 0.0
        self._raw = ListedObject("", "", None)  # type: ignore[arg-type]  # until arrive() has run
        self._line = 0
        self._changes: Changes

    def publish(self, context: Context) -> str:
        """The broker acknowledges it."""
        if context.publisher_is_at_work and not context.take_over:
            raise Failed(
                "a publisher uses this identity and would be disconnected",
                "stop the publisher, or add --take-over",
            )
        self._changes = Changes(context, _EXPLANATIONS)
        contract = contracts.load(context.channel)
        simulator = Simulator(contract, seed=time.time_ns(), clock=time.time)
        self._payload = compact_json.encode(simulator.reading())
        with mqtt.Connection(context.identity) as connection:
            self._started, self._sent_at = time.monotonic(), time.time()
            answer = connection.publish(context.topic, self._payload).result()
        if answer.outcome is not mqtt.PublishOutcome.ACKNOWLEDGED:
            raise Failed(
                f"the broker did not acknowledge the probe: {answer.reason}",
                remedies.provision(context),
            )
        interval = context.deployed.buffering_interval_seconds
        return f"acknowledged after {self._elapsed()}; its batch closes within {interval} s"

    def arrive(self, context: Context) -> str:
        """Its batch is in the raw bucket."""
        seen: set[str] = set()

        def found() -> bool:
            message = buckets.find_message(
                context, context.plain_topic, self._payload, since=self._sent_at, seen=seen
            )
            if message is not None:
                self._raw, self._line = message
            return message is not None

        if not in_time(found, context.deployed.buffering_interval_seconds + _PATIENCE_SECONDS):
            self._changes.report()
            raise Failed(
                f"the probe was not in the raw bucket after {self._elapsed()}",
                remedies.inspect(context, "the metrics and logs of the rule and the stream"),
            )
        return f"after {self._elapsed()} in {self._raw.url}"

    def parse(self, context: Context) -> str:
        """The parser has written the rows of its batch."""
        bucket = context.deployed.parsed_bucket
        key = self._raw.key.replace("raw/", "parsed/", 1).removesuffix(".ndjson.gz") + ".parquet"
        if not in_time(lambda: buckets.exists(context, bucket, key), _PATIENCE_SECONDS):
            self._changes.report()
            raise Failed(
                f"the probe's batch had no Parquet object after {self._elapsed()}",
                remedies.inspect(context, "the function's log"),
            )
        return f"after {self._elapsed()} in s3://{bucket}/{key}"

    def query(self, context: Context) -> str:
        """Athena shows its row."""
        day = self._raw.key.split("/")[2].removeprefix("dt=")
        answer = athena.run(
            context.cloud,
            f"SELECT thing_name, received_at FROM {context.channel} "
            f"WHERE dt = '{day}' AND raw_key = '{self._raw.key}' AND raw_line = {self._line}",
        )
        if not answer.rows:
            self._changes.report()
            raise Failed("the probe's row is not in the table", remedies.deploy(context))
        name, received = answer.rows[0]
        received = f"{(received or '')[:19]}Z"
        return (
            f"after {self._elapsed()}: {name} at {received}, line {self._line} of {self._raw.key}"
        )

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.1f} s"


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
