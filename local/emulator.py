"""Start the emulator: its ports, its certificate authority and its credentials.

All three are made once and kept with the emulator's data, so that identities stay valid. AWS APIs
are served over TLS on 127.0.0.1 only. The MQTT listener of the emulator is bound to every
interface, which it offers no way to change; policies are enforced there as they are in AWS.
"""

import contextlib
import json
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

from local.emulator_state import SAVE_PATH
from local.state import (
    AWS_CONFIG,
    DATA,
    ENVIRONMENT,
    HOME,
    LOGS,
    MQTT,
    TLS,
    LocalError,
    spawn,
    write_privately,
)

REGION = "us-east-1"
ACCOUNT = "000000000000"

_GATEWAY_PORT = 4566
_MQTT_PORT = 8883
_KEY = "local"
_EVERY_INTERFACE = "0.0.0.0"  # noqa: S104  # as the emulator binds; only tried out here
_SETTINGS = DATA / "emulator.json"
_CA = TLS / "ca.pem"
_MQTT_CA = TLS / "mqtt-ca.pem"
_LOG = LOGS.relative_to(HOME.parent) / "emulator.log"
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """What the emulator keeps together with its data.

    Attributes:
        gateway_port: Port of the AWS APIs.
        mqtt_port: Port for MQTT over mutual TLS.
        secret: The secret access key of ``_KEY``, which is allowed everything.
    """

    gateway_port: int
    mqtt_port: int
    secret: str

    @property
    def endpoint_url(self) -> str:
        """URL of every AWS API."""
        return f"https://localhost:{self.gateway_port}"


def start() -> EmulatorSettings:
    """Start the emulator, wait until it answers, and write what others need to find it.

    Raises:
        LocalError: It did not start, or not in time, or its ports are taken.
    """
    _make_certificates()
    settings = _start_again() if _SETTINGS.exists() else _start_first()
    with _get(f"{settings.endpoint_url}/_ministack/iot/ca.pem") as response:
        write_privately(_MQTT_CA, response.read().decode())
    _wait_for_mqtt(settings.mqtt_port)
    broker = {"host": "localhost", "port": settings.mqtt_port, "ca": str(_MQTT_CA)}
    write_privately(MQTT, json.dumps(broker))
    write_privately(
        AWS_CONFIG,
        f"[profile {ENVIRONMENT}]\n"
        f"region = {REGION}\n"
        f"endpoint_url = {settings.endpoint_url}\n"
        f"ca_bundle = {_CA}\n"
        f"aws_access_key_id = {_KEY}\n"
        f"aws_secret_access_key = {settings.secret}\n",
    )
    return settings


def _start_first() -> EmulatorSettings:
    """Start without data, on the usual ports if they are free."""
    for attempt in range(3):
        # A free port can be taken here only while two emulators start at the same moment.
        settings = EmulatorSettings(
            _free_port(_GATEWAY_PORT if attempt == 0 else 0, "127.0.0.1"),
            _free_port(_MQTT_PORT if attempt == 0 else 0, _EVERY_INTERFACE),
            secrets.token_urlsafe(24),
        )
        if _wait(_spawn(settings), settings.endpoint_url):
            write_privately(_SETTINGS, json.dumps(asdict(settings)))
            return settings
    raise _does_not_start()


def _start_again() -> EmulatorSettings:
    """Start with the data that is there, and with its settings."""
    settings = _saved_settings()
    places = ((settings.gateway_port, "127.0.0.1"), (settings.mqtt_port, _EVERY_INTERFACE))
    for port, host in places:
        if _free_port(port, host) != port:
            raise LocalError(
                f"another program has port {port}, where the local stack's data and identities "
                "belong; stop that program, or delete them with python -m local reset"
            )
    if not _wait(_spawn(settings), settings.endpoint_url):
        raise _does_not_start()
    return settings


def _does_not_start() -> LocalError:
    return LocalError(
        f"the emulator does not start; see {LOGS.relative_to(HOME.parent)}/emulator.log"
    )


def save() -> None:
    """Have the emulator write its state to disk.

    Raises:
        OSError: It does not run.
    """
    with _get(f"{_saved_settings().endpoint_url}{SAVE_PATH}", timeout=60):
        pass


def _saved_settings() -> EmulatorSettings:
    return EmulatorSettings(**json.loads(_SETTINGS.read_bytes()))


def saved_at() -> datetime:
    """When the emulator's state was last written.

    Raises:
        FileNotFoundError: It never was.
    """
    return datetime.fromtimestamp((DATA / "state" / "sqs.json").stat().st_mtime, UTC)


def client_variables() -> dict[str, str]:
    """Variables that point the CDK's command line at the emulator."""
    profile = dict(
        line.split(" = ", 1) for line in AWS_CONFIG.read_text().splitlines() if " = " in line
    )
    return {
        "AWS_ACCESS_KEY_ID": profile["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": profile["aws_secret_access_key"],
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": profile["endpoint_url"],
        # The CDK's own S3 client looks for this one.
        "AWS_ENDPOINT_URL_S3": profile["endpoint_url"],
        "AWS_CA_BUNDLE": str(_CA),
        "NODE_EXTRA_CA_CERTS": str(_CA),
    }


def answers(endpoint_url: str) -> bool:
    """Whether the emulator of this folder answers there; another one has another certificate."""
    try:
        with _get(f"{endpoint_url}/_ministack/health"):
            return True
    except OSError:
        return False


def _spawn(settings: EmulatorSettings) -> subprocess.Popen[bytes]:
    shutil.rmtree(HOME / "tmp", ignore_errors=True)
    return spawn(
        "emulator",
        [sys.executable, "-m", "local.emulator_process"],
        AUTH="true",
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(settings.gateway_port),
        IOT_MTLS_PORT=str(settings.mqtt_port),
        USE_SSL="1",
        MINISTACK_SSL_CERT=str(TLS / "server.pem"),
        MINISTACK_SSL_KEY=str(TLS / "server.key"),
        # Its Lambda workers call it back, and trust what it trusts.
        SSL_CERT_FILE=str(_CA),
        AWS_CA_BUNDLE=str(_CA),
        MINISTACK_REGION=REGION,
        MINISTACK_ACCOUNT_ID=ACCOUNT,
        AWS_ACCESS_KEY_ID=_KEY,
        AWS_SECRET_ACCESS_KEY=settings.secret,
        TMPDIR=_folder(HOME / "tmp"),
        PERSIST_STATE="1",
        STATE_DIR=_folder(DATA / "state"),
        S3_PERSIST="1",
        S3_DATA_DIR=_folder(DATA / "s3"),
    )


def _folder(path: Path) -> str:
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


def _wait(process: subprocess.Popen[bytes], endpoint_url: str) -> bool:
    """Return whether it started, with all its ports; if not, its process has ended."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        try:
            with _get(f"{endpoint_url}/_ministack/health") as response:
                mqtt = json.load(response)["iot_mtls"]
        except (OSError, ValueError, KeyError):
            mqtt = "starting"
        if mqtt == "listening":
            return True
        if mqtt != "starting":
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    return False


def _wait_for_mqtt(port: int) -> None:
    """Connect until a TLS handshake succeeds.

    The listener makes its certificate when the first client connects, and may not answer that
    client. So this client comes before any device.
    """
    context = ssl.create_default_context(cafile=str(_MQTT_CA))
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("localhost", port), timeout=2) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return
        time.sleep(0.1)
    raise LocalError(f"the emulator's MQTT listener does not answer; see {_LOG}")


def _get(url: str, *, timeout: float = 5):  # type: ignore[no-untyped-def]  # urlopen's own return type is private
    context = ssl.create_default_context(cafile=str(_CA))
    # No proxy: it is this machine.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    return opener.open(url, timeout=timeout)


def _make_certificates() -> None:
    if (TLS / "server.key").exists():  # written last
        return
    authority = trustme.CA(organization_name="telemetry local stack")
    server = authority.issue_cert("localhost", "127.0.0.1", "*.localhost")
    write_privately(_CA, authority.cert_pem.bytes().decode())
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    write_privately(TLS / "server.pem", chain.decode())
    write_privately(TLS / "server.key", server.private_key_pem.bytes().decode())


def _free_port(preferred: int, host: str) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            # A listener still conflicts; a connection that lingers after a restart does not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LocalError(f"no free port on {host}")
