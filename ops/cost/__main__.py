"""Estimate what an environment costs in a month: ``python -m ops.cost --env ENV``.

Prints each hop's bill for a load of readings, three times: packed as device.publish packs them, one
message per reading by Basic Ingest, and one message per reading to the plain topic.

The resources and their settings come from the synthesized template, so deploy nothing to compare
settings. The sizes come from a sample, which is simulated from the contract, packed by the device's
packer and parsed by the parser; --bytes scales them. The speed of the functions is that of the
project's benchmark.

A device sends a message when it is full, or when its first reading has waited for --max-linger: a
device with a reading per minute needs a --max-linger of many minutes to gain from packing.

The prices are list prices of us-east-1, without free tier and taxes. Storage is what it is once
the retentions are full. Rejected readings, failures, mails and queries are not included; what one
query costs is printed below the total.

Needs no AWS credentials and calls no AWS API.
"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import contracts
from device import cli
from device.delivery import prices
from device.errors import ExitStatus
from device.readings.simulator import SimulatorError
from ops.cost import bill, deployment
from ops.cost.traffic import MONTH_DAYS, Load, Measurement, Traffic

_WAYS = {
    "packed": "packed",
    "single": "one per message",
    "single_plain_topic": "one per message, plain topic",
}


@click.command(
    cls=cli.Command,
    help=__doc__,
    examples=[
        "python -m ops.cost --env prod --devices 1000 --interval 60",
        "python -m ops.cost --env prod --devices 1000 --interval 60 --max-linger 900",
        "python -m ops.cost --env dev --devices 20 --interval 0.1 --bytes 300 --format json",
    ],
    statuses=[ExitStatus.ENVIRONMENT],
)
@cli.environment_option()
@cli.channel_option("Contract of the readings; the other channels are taken to be idle.")
@click.option(
    "--devices", type=click.IntRange(1, 10_000_000), required=True, help="Devices, all connected."
)
@click.option(
    "--interval",
    "interval_seconds",
    type=click.FloatRange(0.001, 31 * 86400),
    required=True,
    help="Seconds between two readings of a device.",
)
@click.option(
    "--bytes",
    "reading_bytes",
    type=click.IntRange(2, 128 * 1024),
    help="Size of a reading in JSON.  [default: that of a simulated reading]",
)
@click.option(
    "--max-linger",
    "max_linger_seconds",
    type=click.FloatRange(0, 31 * 86400),
    default=10.0,
    show_default=True,
    help="Seconds that a reading waits for others, as in device.publish.",
)
@click.option(
    "--template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Synthesized template to use, such as cdk.out/Pipeline.template.json.  "
    "[default: synthesize it]",
)
@cli.format_option("text", "json")
def main(
    *,
    environment: str,
    channel: str,
    devices: int,
    interval_seconds: float,
    reading_bytes: int | None,
    max_linger_seconds: float,
    template: Path | None,
    output_format: str,
) -> None:
    """Print the bill."""
    if math.isnan(interval_seconds) or math.isnan(max_linger_seconds):
        raise click.UsageError("expected numbers for --interval and --max-linger, got nan")
    load = Load(devices, interval_seconds, reading_bytes, max_linger_seconds)
    if template is None:
        cli.say(f"synthesizing the stack of {environment}")
    found = deployment.read(
        deployment.synthesize(environment) if template is None else deployment.load(template),
        environment,
        channel,
    )
    try:
        measurement = Measurement(
            environment,
            contracts.load(channel),
            load,
            buffering_seconds=found.buffering_seconds,
            buffering_bytes=found.buffering_bytes,
        )
    except SimulatorError as error:
        raise click.UsageError(f"cannot simulate a reading of {channel}: {error}") from None
    traffic = {
        "packed": measurement.packed(),
        "single": measurement.single(basic_ingest=True),
        "single_plain_topic": measurement.single(basic_ingest=False),
    }
    record = report(found, traffic, load, environment=environment, channel=channel)
    if output_format == "json":
        cli.echo_json(record)
    else:
        _show(record)


def report(
    found: deployment.Deployment,
    traffic: dict[str, Traffic],
    load: Load,
    *,
    environment: str,
    channel: str,
) -> dict[str, Any]:
    """The bills, as ``--format json`` prints them."""
    ways = {}
    for way, one in traffic.items():
        items = bill.items(found, one, load.devices)
        ways[way] = {
            "traffic": {**asdict(one), "messages": one.messages},
            "total_usd": math.fsum(item.usd for item in items),
            "items": [asdict(item) for item in items],
            "one_query": [asdict(item) for item in bill.query_items(one)],
        }
    return {
        "environment": environment,
        "channel": channel,
        "prices": {"region": prices.REGION, "read_on": prices.READ_ON, "currency": "USD"},
        "load": {**asdict(load), "readings": load.readings, "month_days": MONTH_DAYS},
        "deployment": asdict(found),
        "ways": ways,
    }


def _show(record: dict[str, Any]) -> None:
    ways = record["ways"]
    load, packed = record["load"], ways["packed"]["traffic"]
    table = Table("hop", "USD per month", show_edge=False, pad_edge=False)
    for way in ways:
        table.add_column(_WAYS[way], justify="right", overflow="fold")
    for rows in zip(*(one["items"] for one in ways.values()), strict=True):
        table.add_row(rows[0]["hop"], rows[0]["what"], *(_usd(row["usd"]) for row in rows))
    table.add_section()
    table.add_row("total", "", *(_usd(one["total_usd"]) for one in ways.values()))
    table.add_section()
    for rows in zip(*(one["one_query"] for one in ways.values()), strict=True):
        table.add_row(rows[0]["hop"], rows[0]["what"], *(_usd(row["usd"]) for row in rows))
    Console(width=120, highlight=False, markup=False).print(table)
    fill = packed["readings_per_message"]
    cli.say(
        f"{load['readings']:,.0f} readings of {packed['reading_bytes']} bytes in "
        f"{MONTH_DAYS} days; packed: {cli.counted(fill, 'reading')} per message, "
        f"{packed['messages']:,.0f} messages; list prices of {prices.REGION}, {prices.READ_ON}"
    )
    if fill == 1:
        cli.say(
            f"packing gains nothing: a device has a reading every {load['interval_seconds']:g} s "
            f"and waits {load['max_linger_seconds']:g} s for more; see --max-linger"
        )


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.005 or value == 0 else f"{value:.6f}"


if __name__ == "__main__":
    main(prog_name="python -m ops.cost")
