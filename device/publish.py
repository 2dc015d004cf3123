r"""Publish readings as a device: ``python -m device.publish --env ENV --thing THING``.

The command needs the identity's folder and no AWS credentials. Readings come from the simulator,
from ``--file`` or from ``--message``. Each reading is stored in the spool beside the identity
before it is sent, and is removed when the broker has acknowledged it. Readings that an earlier run
left there are sent too. Several readings share a message, unless ``--no-pack`` is given. A payload
that is not one JSON object is sent as a message of its own, and so is every payload with
``--no-check``.

While the broker cannot be reached, readings are still stored, and the next run sends them. When the
broker refuses this device, the command stops at once. Messages that the broker refuses, or that
repeatedly make it disconnect, block no others. They stay in the spool for a week, because the
policy may be fixed in that time. While the spool is full, the command waits. ``--topic`` tries out
the policy and stores nothing.

The summary on stdout counts readings: acknowledged (the broker has them), refused (it does not),
or unknown (the answer is missing; sent again, they may arrive twice).

The exit status reports the same (``device.errors.ExitStatus``).
"""

import json
import math
import random
import time
from pathlib import Path
from typing import Any, BinaryIO

import click

import contracts
from contracts import Contract, names
from device import cli, identity
from device.cli import Progress
from device.delivery import mqtt, topics
from device.delivery.publisher import Publisher, PublishingReport
from device.delivery.sink import Sink, open_sink
from device.delivery.spool import Spool
from device.errors import ExitStatus
from device.identity import Identity
from device.readings import inputs, sources
from device.readings.check import ReadingCheck
from device.readings.simulator import Simulator

_TRIAL_SPOOL_BYTES = 64 * 1024 * 1024


@click.command(
    cls=cli.Command,
    examples=(
        "python -m device.publish --env local --thing my-sensor --count 100",
        "python -m device.publish --env dev --thing my-sensor --file readings.csv",
        "python -m device.publish --env dev --thing my-sensor --file log.csv --map temp=temperature"
        " --time-zone Europe/Berlin",
        "tail -f log.ndjson | python -m device.publish --identity certs/dev/my-sensor --file -",
    ),
    statuses=(
        *(ExitStatus.INVALID, ExitStatus.REFUSED, ExitStatus.UNKNOWN),
        *(ExitStatus.CONNECTION_REFUSED, ExitStatus.UNREACHABLE),
        *(ExitStatus.IDENTITY, ExitStatus.ENVIRONMENT, ExitStatus.SPOOL),
    ),
)
@cli.environment_option(required=False)
@click.option(
    "--thing", "thing_name", metavar="THING", help="Thing whose identity is in certs/ENV/THING."
)
@cli.customer_option("Publish as this customer of the thing, with its own identity.")
@click.option(
    "--identity",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the identity, instead of --env and --thing.",
)
@cli.channel_option()
@click.option("--count", type=click.IntRange(1), help="Number of simulated readings.  [default: 1]")
@click.option("--seed", type=int, help="Make the simulated values repeatable.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help="One JSON reading per line, or CSV with a header; also compressed (.gz, .bz2, .xz). "
    "- is standard input.",
)
@click.option(
    "--file-format",
    type=click.Choice(["ndjson", "csv"]),
    help="What --file holds.  [default: csv for *.csv and *.tsv, else ndjson]",
)
@click.option(
    "--delimiter", metavar="CHARACTER", help="Character between CSV cells.  [default: detected]"
)
@click.option(
    "--map",
    "renamed",
    multiple=True,
    metavar="COLUMN=FIELD",
    help="Field that a CSV column holds, if it has another name; repeatable.",
)
@click.option(
    "--time-zone",
    metavar="ZONE",
    help="Time zone of CSV times without an offset: UTC, +02:00 or Europe/Berlin.  [default: such "
    "times are invalid]",
)
@click.option(
    "--from-line",
    type=click.IntRange(1),
    default=1,
    help="First line of --file to publish; earlier ones are skipped.  [default: 1]",
)
@click.option(
    "--message", "messages", multiple=True, metavar="JSON", help="Publish this reading; repeatable."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Readings per second at most.  [default: no limit]",
)
@click.option(
    "--pack/--no-pack",
    default=True,
    help="Put several readings into a message, or send one per message.",
)
@click.option(
    "--max-linger",
    "max_linger_seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds that a reading waits for others to fill its message.",
)
@click.option(
    "--check/--no-check", default=True, help="Publish only what fits the contract, or any bytes."
)
@click.option(
    "--basic-ingest/--no-basic-ingest",
    default=True,
    help="Publish through Basic Ingest, which is cheaper, or to the plain topic, which MQTT "
    "subscribers receive too.",
)
@click.option(
    "--topic",
    metavar="TOPIC",
    help="Publish to this topic instead, to see if the policy allows it.",
)
@cli.format_option("text", "json")
@click.pass_context
def main(
    context: click.Context,
    *,
    environment: str | None,
    thing_name: str | None,
    customer: str | None,
    folder: Path | None,
    channel: str,
    count: int | None,
    seed: int | None,
    file: BinaryIO | None,
    file_format: str | None,
    delimiter: str | None,
    renamed: tuple[str, ...],
    time_zone: str | None,
    from_line: int,
    messages: tuple[str, ...],
    rate: float | None,
    pack: bool,
    max_linger_seconds: float,
    check: bool,  # click passes options by name
    basic_ingest: bool,
    topic: str | None,
    output_format: str,
) -> None:
    """Publish readings as a device, with MQTT 5 over mutual TLS and QoS 1.

    Readings are simulated, unless --file or --message is given.
    """
    _check_combination(context.params)
    own = identity.load(_folder(environment, thing_name, customer, folder))
    total: int | None = None
    noun = "reading"
    try:
        contract = contracts.load(channel)
        if file is not None:
            noun = "line"
            options = inputs.csv_options(delimiter, renamed, time_zone)
            source = inputs.from_file(
                file, file_format, contract, options, verbatim=not check, say=cli.say
            )
        elif messages:
            noun = "message"
            source, total = sources.from_messages(messages), len(messages)
        else:
            total = count or 1
            source = sources.from_simulator(_simulator(contract, seed), total)
        if topic is not None:
            topics.check_topic(topic)
    except ValueError as error:  # the contract's, the file's, the simulator's or the topic's
        raise click.UsageError(str(error)) from None
    with Progress(total) as progress:
        sink = _open_sink(
            own,
            trial_topic=topic,
            topic=(own.device.basic_ingest_topic if basic_ingest else own.device.topic)(channel),
            check=ReadingCheck(contract, warn=progress.say) if check else None,
            pack=pack,
            max_linger_seconds=max_linger_seconds,
        )
        if earlier := sink.totals().earlier:
            progress.say(f"sending {cli.counted(earlier, 'reading')} of an earlier run too")
        publisher = Publisher(
            sink,
            progress=lambda so_far: progress.show(so_far.totals.acknowledged, str(so_far)),
            say=progress.say,
            noun=noun,
            first=from_line,
            rate=rate,
        )
        report = publisher.publish(source)
    _print(report, output_format, noun=noun, first=from_line, kept=topic is None)
    context.exit(report.status())


def _check_combination(given: dict[str, Any]) -> None:
    """Check that the options, by parameter, go together.

    Raises:
        click.UsageError: They do not.
    """
    file, messages = given["file"], given["messages"]
    if file is not None and messages:
        raise click.UsageError("expected --file or --message, got both")
    if (file is not None or messages) and (given["count"], given["seed"]) != (None, None):
        raise click.UsageError(
            "--count and --seed are for simulated readings: remove them, or --file and --message"
        )
    if math.isnan(given["max_linger_seconds"]) or math.isnan(given["rate"] or 0.0):
        raise click.UsageError("expected numbers for --max-linger and --rate, got nan")
    of_files = ("file_format", "delimiter", "renamed", "time_zone")
    if file is None and (given["from_line"] > 1 or any(given[name] for name in of_files)):
        raise click.UsageError(
            "--file-format, --delimiter, --map, --time-zone and --from-line go with --file"
        )


def _open_sink(
    own: Identity,
    *,
    trial_topic: str | None,
    topic: str,
    check: ReadingCheck | None,
    pack: bool,
    max_linger_seconds: float,
) -> Sink:
    """Open the identity's sink, or one without a spool on disk to try ``trial_topic``."""
    # An unchecked payload may not be JSON, and would make the whole message unreadable.
    pack = pack and check is not None
    if trial_topic is None:
        return open_sink(own, topic, check=check, pack=pack, max_linger_seconds=max_linger_seconds)
    return Sink(
        Spool(None, max_bytes=_TRIAL_SPOOL_BYTES),
        trial_topic,
        lambda: mqtt.Connection(own),
        check=check,
        pack=pack,
        max_linger_seconds=max_linger_seconds,
        when_full="refuse",
    )


def _folder(
    environment: str | None, thing_name: str | None, customer: str | None, folder: Path | None
) -> Path:
    if folder is not None and (environment, thing_name, customer) == (None, None, None):
        return folder
    if folder is not None or environment is None or thing_name is None:
        raise click.UsageError("expected --env and --thing, or --identity")
    try:
        names.check_thing_name(thing_name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    cli.check_customer(environment, thing_name, customer)
    return identity.folder_of(environment, names.client_id(thing_name, customer))


def _simulator(contract: Contract, seed: int | None) -> Simulator:
    if seed is None:
        seed = random.randrange(2**32)  # noqa: S311  # plausible, not secret
    # If no value can be simulated for the contract, fail before connecting.
    Simulator(contract, seed=seed, clock=time.time).reading()
    return Simulator(contract, seed=seed, clock=time.time)


def _print(
    report: PublishingReport, output_format: str, *, noun: str, first: int, kept: bool
) -> None:
    totals = report.totals
    for reason, count in report.reasons.most_common():
        cli.say(f"{count} {reason}")
    if report.failure is not None:
        cli.say(f"error: {report.failure}")
    if report.interrupted:
        cli.say("interrupted; the rest was not published")
    if not report.complete and noun == "line" and report.reached:
        cli.say(
            f"stopped after line {report.reached}; "
            f"--from-line {report.reached + 1} publishes the rest"
        )
    if totals.dropped:
        cli.say(f"{cli.counted(totals.dropped, 'reading')} refused for a week: dropped")
    if totals.spooled and kept:
        cli.say(f"{cli.counted(totals.spooled, 'reading')} in the spool; the next run sends them")
    for name, count in report.unknown_fields.items():
        cli.say(f"{cli.counted(count, 'reading')} with the unknown field {json.dumps(name)}")
    if report.complete and not (totals.taken or totals.earlier or report.invalid):
        cli.say(
            "nothing to publish: the input holds no readings"
            if report.last == 0
            else f"nothing to publish: --from-line is {first}, but the last reading of the file is "
            f"on line {report.last}"
        )
    if output_format == "json":
        cli.echo_json(report.counts())
        return
    click.echo(str(report))
    if totals.messages:
        click.echo(report.cost())


if __name__ == "__main__":
    main()
