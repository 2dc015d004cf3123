"""The stages, in the order in which a message passes them."""

from ops.doctor.examination import Stage
from ops.doctor.stages import (
    broker,
    delivery,
    environment,
    identity,
    network,
    parser,
    probe,
    readings,
    registration,
    rule,
    spool,
    table,
)

STAGES = tuple(
    module.STAGE
    for module in (
        *(identity, environment, network, registration, broker, spool),
        *(rule, delivery, parser, readings, table),
    )
)


def chosen(*, connect: bool, send: bool) -> tuple[Stage, ...]:
    """The stages of one run: the broker's only if ``connect``, and the probe's if ``send``."""
    found = tuple(stage for stage in STAGES if connect or stage is not broker.STAGE)
    if not send:
        return found
    # Readings that wait or were rejected do not stop the probe.
    hops = [stage.name for stage in found if stage not in (spool.STAGE, readings.STAGE)]
    return (*found, probe.stage(tuple(hops)))


def needed_for(*names: str) -> tuple[Stage, ...]:
    """The stages of these names and those that they need, in order."""
    wanted = set(names)
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return tuple(stage for stage in STAGES if stage.name in wanted)
