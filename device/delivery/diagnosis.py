"""Why a broker did not answer CONNECT."""

import socket
import ssl

from device.errors import ConnectionDropped, ConnectionFailed, ConnectionRefused, Unreachable
from device.identity import Identity


def provision_remedy(identity: Identity) -> str:
    """Return the command that makes a new identity, as a remedy."""
    return f"run {identity.device.command}"


def find_out(identity: Identity, symptom: str) -> ConnectionFailed:
    """Return why there was no CONNACK, by a TLS handshake whose errors say more."""
    device = identity.device
    address = f"{device.endpoint}:{device.port}"
    local = device.environment == "local"
    status = "is it up? run python -m local status" if local else "check the network and firewalls"
    try:
        _handshake(identity)
    except ssl.SSLCertVerificationError as error:
        return ConnectionRefused(
            f"the certificate of the broker at {address} is not signed by a CA in "
            f"{identity.ca_path} ({error})",
            remedy="is it the right broker, and this machine's clock right? "
            f"{provision_remedy(identity)}",
        )
    except ssl.SSLEOFError:
        return Unreachable(f"{address} ends connections before TLS is set up", remedy=status)
    except ssl.SSLError as error:
        return ConnectionRefused(
            f"TLS with {address} failed ({error}): the broker rejects the certificate, or it is "
            "not an MQTT broker",
            remedy=provision_remedy(identity),
        )
    except OSError as error:
        return Unreachable(
            f"nothing answers at {address} ({error.strerror or error})", remedy=status
        )
    return ConnectionDropped(
        f"the broker at {address} ended the connection without a reason ({symptom}): the "
        f"certificate {device.certificate_id} is not active, or not known there",
        remedy=provision_remedy(identity),
    )


def _handshake(identity: Identity) -> None:
    context = ssl.create_default_context(cafile=identity.ca_path)
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    address = (identity.device.endpoint, identity.device.port)
    with (
        socket.create_connection(address, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=identity.device.endpoint),
    ):
        pass
