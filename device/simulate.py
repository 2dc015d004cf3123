"""Simulate many devices at once: ``python -m device.simulate --env ENV --devices N``.

Each has its own thing, ``sim-0001`` and so on, its own certificate and its own connection, all in
one process. Identities that are missing are provisioned first, which needs AWS credentials (see
``device.provision``). Each device publishes simulated readings at the given rate, one per message.
Nothing is spooled: the command tests the pipeline, not the device.

The report counts messages, and says how long the broker took to acknowledge them. Ctrl-C ends the
simulation early and prints the report.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import click

import contracts
from device import cli, identity
from device.cli import Progress
from device.delivery import mqtt
from device.delivery.simulation import Simulation, SimulationReport
from device.errors import ExitStatus, IdentityError
from device.identity import Identity
from device.readings.simulator import Simulator

_MOST_DEVICES = 9999
_AT_ONCE = 8
# https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
_MOST_PUBLISHES_PER_SECOND = 100.0


def thing_names(count: int) -> list[str]:
    """The names of the first ``count`` simulated devices."""
    return [f"sim-{number:04}" for number in range(1, count + 1)]


def identities_of(environment: str, things: Sequence[str]) -> list[Identity]:
    """Return the identities of ``things``, and provision those that are missing, several at once.

    On the local stack all of them are provisioned, since its ports may have changed.

    Raises:
        DeviceError: Provisioning failed; running it again provisions the rest.
    """
    found: dict[str, Identity] = {}
    for thing in things:
        try:
            found[thing] = identity.load(identity.folder_of(environment, thing))
        except IdentityError:
            continue
    missing = [thing for thing in things if thing not in found or environment == "local"]
    if missing:
        # Only provisioning needs boto3 and AWS credentials.
        from device import aws  # noqa: PLC0415
        from device.registry import registration  # noqa: PLC0415

        aws.session_for(environment)  # fail here once rather than in every thread
        of_thread = threading.local()

        def make(thing: str) -> Identity:
            if not hasattr(of_thread, "environment"):  # threads must not share a session
                of_thread.environment = aws.session_for(environment)
            return registration.provision(of_thread.environment, thing, lambda _: None)

        with Progress(len(missing)) as progress, ThreadPoolExecutor(_AT_ONCE) as pool:
            attempts = [pool.submit(make, thing) for thing in missing]
            try:
                for done, (thing, attempt) in enumerate(zip(missing, attempts, strict=True), 1):
                    found[thing] = attempt.result()
                    progress.show(done, f"provisioned {done} of {len(missing)} devices")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [found[thing] for thing in things]


@click.command(
    cls=cli.Command,
    examples=(
        "python -m device.simulate --env local",
        "python -m device.simulate --env dev --devices 100 --rate 2 --duration 60 --format json",
    ),
    statuses=(
        ExitStatus.REFUSED,
        ExitStatus.UNKNOWN,
        ExitStatus.CONNECTION_REFUSED,
        ExitStatus.IDENTITY,
        ExitStatus.CONFLICT,
        *cli.AWS_STATUSES,
    ),
)
@cli.environment_option()
@click.option(
    "--devices",
    type=click.IntRange(1, _MOST_DEVICES),
    default=10,
    show_default=True,
    help="Number of devices; their things are sim-0001, sim-0002 and so on.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, _MOST_PUBLISHES_PER_SECOND, min_open=True),
    default=1.0,
    show_default=True,
    help="Messages per second of each device.",
)
@click.option(
    "--duration",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds for which the devices publish.",
)
@cli.channel_option()
@cli.format_option("text", "json")
@click.pass_context
def main(
    context: click.Context,
    *,
    environment: str,
    devices: int,
    rate: float,
    seconds: float,
    channel: str,
    output_format: str,
) -> None:
    """Publish simulated readings from many devices at once, and report the broker's answers."""
    try:
        contract = contracts.load(channel)
        Simulator(contract, seed=0, clock=time.time).reading()
    except ValueError as error:  # the contract is wrong, or no value can be simulated for it
        raise click.UsageError(str(error)) from None
    identities = identities_of(environment, thing_names(devices))
    with Progress(max(1, round(devices * rate * seconds))) as progress:
        simulation = Simulation(
            contract,
            mqtt.Connection,
            lambda so_far: progress.show(so_far.sent, _so_far(so_far)),
        )
        report = simulation.run(identities, rate=rate, seconds=seconds)
    for reason, count in report.reasons.most_common():
        cli.say(f"{count} {reason}")
    if report.interrupted:
        cli.say("interrupted; the report covers what was sent until then")
    if output_format == "json":
        cli.echo_json(asdict(report))
    else:
        click.echo(str(report))
    context.exit(report.status())


def _so_far(report: SimulationReport) -> str:
    return (
        f"sent {report.sent}: {report.acknowledged} acknowledged, {report.refused} refused, "
        f"{report.unknown} under way"
    )


if __name__ == "__main__":
    main()
