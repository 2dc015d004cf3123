"""The emulator's process: its ports, its certificate authority, and its credentials.

AWS APIs are served over TLS on 127.0.0.1 only. The MQTT listener of the emulator is bound to
every interface, whatever it is told; policies are enforced there as they are in AWS.
"""

import contextlib
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

import trustme

from local.state import (
    AWS_CONFIG,
    ENVIRONMENT,
    HOME,
    LOGS,
    MQTT,
    ROOT,
    TLS,
    LocalError,
    spawn,
    write_privately,
)

REGION = "us-east-1"
ACCOUNT = "000000000000"

_GATEWAY_PORT = 4566
_MQTT_PORT = 8883
_CA = TLS / "ca.pem"
_MQTT_CA = TLS / "mqtt-ca.pem"
_START_SECONDS = 60


def start() -> tuple[str, int]:
    """Start the emulator, wait until it answers, and write what others need to find it.

    Returns:
        Endpoint URL of the AWS APIs, and the port of MQTT over TLS.

    Raises:
        LocalError: It did not start, or not in time.
    """
    _make_certificates()
    for attempt in range(3):
        # Only while two are started at the same moment can a free port be taken here.
        gateway = _free_port(_GATEWAY_PORT if attempt == 0 else 0, "127.0.0.1")
        mqtt = _free_port(_MQTT_PORT if attempt == 0 else 0, "0.0.0.0")  # noqa: S104  # as it binds
        endpoint_url = f"https://localhost:{gateway}"
        key, secret = "local", secrets.token_urlsafe(24)
        process = _spawn(gateway, mqtt, key, secret)
        if _wait(process, endpoint_url):
            break
    else:
        raise LocalError(f"the emulator does not start; see {LOGS.relative_to(ROOT)}/emulator.log")
    with _get(f"{endpoint_url}/_ministack/iot/ca.pem") as response:
        write_privately(_MQTT_CA, response.read().decode())
    _wait_for_mqtt(mqtt)
    write_privately(MQTT, json.dumps({"host": "localhost", "port": mqtt, "ca": str(_MQTT_CA)}))
    write_privately(
        AWS_CONFIG,
        f"[profile {ENVIRONMENT}]\n"
        f"region = {REGION}\n"
        f"endpoint_url = {endpoint_url}\n"
        f"ca_bundle = {_CA}\n"
        f"aws_access_key_id = {key}\n"
        f"aws_secret_access_key = {secret}\n",
    )
    return endpoint_url, mqtt


def client_environment() -> dict[str, str]:
    """Variables that point the CDK's command line at the emulator."""
    profile = dict(
        line.split(" = ", 1) for line in AWS_CONFIG.read_text().splitlines() if " = " in line
    )
    return {
        **_inherited(),
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


def _spawn(gateway: int, mqtt: int, key: str, secret: str) -> subprocess.Popen[bytes]:
    return spawn(
        "emulator",
        [sys.executable, "-m", "local.emulator_process"],
        {
            **_inherited(),
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(gateway),
            "IOT_MTLS_PORT": str(mqtt),
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(TLS / "server.pem"),
            "MINISTACK_SSL_KEY": str(TLS / "server.key"),
            # Its Lambda workers call it back, and trust what it trusts.
            "SSL_CERT_FILE": str(_CA),
            "AWS_CA_BUNDLE": str(_CA),
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "TMPDIR": _folder("tmp"),
            "STATE_DIR": _folder("state"),
            "S3_DATA_DIR": _folder("s3"),
        },
    )


def _inherited() -> dict[str, str]:
    """This environment without what would send requests elsewhere, or distrust the emulator."""
    elsewhere = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_")
        and not name.lower().endswith("_proxy")
        and name not in elsewhere
    }


def _folder(name: str) -> str:
    path = HOME / name
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


def _wait(process: subprocess.Popen[bytes], endpoint_url: str) -> bool:
    """Whether it came up, with all its ports; it is gone if not."""
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

    The listener makes its certificate when the first client comes, and may leave that one
    without an answer; it had better be us than a device.
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
    raise LocalError(
        f"the emulator's MQTT listener does not answer; see {LOGS.relative_to(ROOT)}/emulator.log"
    )


def _get(url: str):  # type: ignore[no-untyped-def]  # urlopen's own return type is private
    context = ssl.create_default_context(cafile=str(_CA))
    # No proxy: it is this machine.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    return opener.open(url, timeout=5)


def _make_certificates() -> None:
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
