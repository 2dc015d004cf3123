"""What runs on a device, or beside it: its identity, and the messages it publishes.

Each command is a module:

- ``python -m device.publish`` publishes readings. It needs an identity and no AWS credentials.
- ``device.simulate`` publishes simulated readings from many devices.
- ``device.provision`` gives a device its identity. With ``--claim`` the device registers itself,
  with a certificate that ``ops.claim`` makes and without AWS credentials.
- ``device.rotate`` replaces key and certificate.

``ops`` has the operator's commands: ``ops.list`` lists things and certificates, ``ops.revoke``
takes certificates out of use, and ``ops.doctor`` finds out why a message does not appear.

A program publishes with ``device.open``::

    import device

    with device.open("certs/dev/sensor-1") as sink:
        sink.put({"timestamp": 1790000000123, "temperature": 21.5, ...})

An identity is a folder, ``certs/{environment}/{thing}/``, or ``{thing}.{customer}/`` beside it
for a customer of the thing, that every MQTT client can use:

- ``private.key``: the key, PEM (PKCS #8, EC P-256); readable by its owner alone
- ``certificate.pem``: the client certificate, PEM
- ``ca.pem``: the CA certificates that verify the broker, PEM
- ``device.json``: ``endpoint``, ``port``, ``environment``, ``thing_name`` (also the MQTT client
  id), ``certificate_id`` and ``certificate_arn``. The file of a customer also has ``customer``,
  and its client id is ``{thing_name}.{customer}``

So, with Eclipse paho-mqtt::

    folder = Path("certs/dev/sensor-1")
    device = json.loads((folder / "device.json").read_text())
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, device["thing_name"], protocol=mqtt.MQTTv5
    )
    client.tls_set(f"{folder}/ca.pem", f"{folder}/certificate.pem", f"{folder}/private.key")
    client.connect(device["endpoint"], device["port"])
    client.loop_start()
    client.publish("dt/dev/sensor-1/telemetry", payload, qos=1).wait_for_publish()
"""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from device.delivery.sink import Sink
    from device.identity import Identity

__all__ = ["open"]

_LOG = logging.getLogger(__name__)


def _interrupted(_number: int, _frame: object) -> None:
    os.write(2, b"interrupted; nothing was done\n")
    os._exit(130)


# ``python -m device.publish`` imports this package first. Until device.cli takes over, Ctrl-C would
# show a traceback from one of the imports. A program that imports this package is left alone.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, _interrupted)


def open(  # noqa: A001  # as in gzip.open: it is used as device.open
    identity: "Identity | Path | str",
    *,
    channel: str = "telemetry",
    topic: str | None = None,
    check: bool = True,
    pack: bool = True,
    max_linger_seconds: float = 10.0,
    max_spool_bytes: int = 256 * 1024 * 1024,
    when_full: Literal["refuse", "drop_oldest"] = "refuse",
) -> "Sink":
    """Open a sink for a device's readings, which sends them in the background.

    A reading that was put is on disk, in ``spool/`` beside the identity, until the broker has
    acknowledged it. It survives ``kill -9``, power failures and outages; if this run does not send
    it, the next one does. It arrives at least once. A reading that arrives more than once has the
    same time and values each time.

    A message that the broker refuses, or that repeatedly makes it disconnect, stays on disk for a
    week and is sent again now and then, after all others.

    This function returns at once. The sink connects in the background, and reconnects when the
    connection is lost. Close the sink, or use it as a context manager: that sends everything and
    waits for the answers.

    Args:
        identity: The identity that ``device.identity.load`` returns, or its folder.
        channel: Contract (channel) of the readings.
        topic: Topic to publish to; by default the channel's topic, through Basic Ingest.
        check: Check in ``put`` that a reading fits the contract. A field that the contract does not
            have is allowed; the logger ``device`` warns of it once, and
            ``unknown_fields`` of the sink counts it.
        pack: Put several readings into a message, up to a metering unit of 5 KB. Otherwise send
            one reading per message.
        max_linger_seconds: How long a reading may wait for others to fill its message.
        max_spool_bytes: Size limit of the spool in bytes, at least 256 KiB. A quarter of it, at
            most 1 MiB, is held in reserve, so that a spool on a full disk can be emptied.
        when_full: What happens when the spool is full. ``"refuse"`` raises ``SpoolFull`` for the
            new reading. ``"drop_oldest"`` drops the oldest message that is not being sent;
            ``totals().dropped`` counts its readings.

    Raises:
        IdentityError: The identity is missing or broken.
        SpoolError: The spool is damaged, of a newer version, in use by another process, or its
            folder cannot be written to.
        ContractError: There is no such channel.
        ValueError: The topic cannot be published to, or ``max_linger_seconds`` is not a duration.
    """
    # Imported here to keep ``import device`` fast.
    import contracts  # noqa: PLC0415
    from device.delivery import topics  # noqa: PLC0415
    from device.delivery.sink import open_sink  # noqa: PLC0415
    from device.identity import Identity, load  # noqa: PLC0415
    from device.readings.check import ReadingCheck  # noqa: PLC0415

    own = identity if isinstance(identity, Identity) else load(Path(identity))
    contract = contracts.load(channel)
    return open_sink(
        own,
        topics.check_topic(own.device.basic_ingest_topic(channel) if topic is None else topic),
        check=ReadingCheck(contract, warn=_LOG.warning) if check else None,
        pack=pack,
        max_linger_seconds=max_linger_seconds,
        max_spool_bytes=max_spool_bytes,
        when_full=when_full,
    )
