"""The way from this machine to the broker."""

import socket
import ssl

from device import aws
from device.errors import ExitStatus
from ops.doctor import remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed, Skipped

_TIMEOUT_SECONDS = 5.0


def endpoint(context: Context) -> str:
    """The identity names the environment's broker."""
    broker, device = context.cloud.broker(), context.device
    if (device.endpoint, device.port) != (broker.host, broker.port):
        raise Failed(
            f"device.json names {device.endpoint}:{device.port}, the broker is "
            f"{broker.host}:{broker.port}",
            remedies.provision(context),
        )
    return f"{broker.host}:{broker.port}"


def dns(context: Context) -> str:
    """The broker's name has an address."""
    device = context.device
    try:
        found = socket.getaddrinfo(device.endpoint, device.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failed(
            f"{device.endpoint} has no address: {error.strerror}",
            "check this machine's DNS settings and network",
        ) from None
    return ", ".join(sorted({str(address[4][0]) for address in found}))


def tcp(context: Context) -> str:
    """The broker's port is open."""
    device = context.device
    try:
        socket.create_connection((device.endpoint, device.port), _TIMEOUT_SECONDS).close()
    except OSError as error:
        raise Failed(
            f"nothing answers at {device.endpoint}:{device.port}: {error.strerror or error}",
            "run python -m local up --detach"
            if context.environment_name == aws.LOCAL
            else f"let this machine reach TCP port {device.port}: check its network and firewalls",
        ) from None
    return f"port {device.port} is open"


def tls(context: Context) -> str:
    """The server proves that it is the broker."""
    device, ours = context.device, context.identity
    try:
        trusted = ssl.create_default_context(cafile=ours.ca_path)
        trusted.load_cert_chain(ours.certificate_path, ours.key_path)
    except OSError:
        raise Skipped("TLS cannot use the identity's files") from None
    try:
        with (
            socket.create_connection((device.endpoint, device.port), _TIMEOUT_SECONDS) as plain,
            trusted.wrap_socket(plain, server_hostname=device.endpoint) as secure,
        ):
            return secure.version() or ""
    except ssl.SSLCertVerificationError as error:
        raise Failed(
            f"{ours.ca_path.name} does not verify the broker's certificate: {error.verify_message}",
            remedies.provision(context),
        ) from None
    except OSError as error:
        raise Failed(
            f"TLS failed: {error.strerror or error}",
            "find the proxy or firewall that intercepts TLS, and let the broker's port pass",
        ) from None


STAGE = Stage(
    "network",
    ExitStatus.UNREACHABLE,
    {"endpoint": endpoint, "dns": dns, "tcp": tcp, "tls": tls},
)
