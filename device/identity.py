"""A device's identity on disk: read it and check it.

Needs neither AWS credentials nor boto3. The package's docstring lists the files.
"""

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_private_key

from contracts import names
from device import files
from device.errors import IdentityError

PROJECT_ROOT = Path(__file__).resolve().parent.parent

DEVICE_FILE = "device.json"
CERTIFICATE_FILE = "certificate.pem"
KEY_FILE = "private.key"
CA_FILE = "ca.pem"

ROTATION_FILE = "rotation.json"
"""The journal of a rotation, with the old certificate; exists while the rotation is unfinished."""
CURRENT = "current"
"""After a rotation: a link to the folder of the key and certificate in use."""
PAIRS = ("pair-a", "pair-b")
"""The folders that ``current`` links to in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The content of ``device.json``.

    Attributes:
        environment: The environment whose broker, topics and policy the device uses.
        thing_name: The AWS IoT thing; also the MQTT client id, unless there is a customer.
        endpoint: Host name of the broker.
        port: Port for MQTT over mutual TLS.
        certificate_id: AWS IoT's id of the certificate.
        certificate_arn: ARN of the certificate, which also names account and region.
        customer: The customer of the thing; None for the thing's own identity.
    """

    environment: str
    thing_name: str
    endpoint: str
    port: int
    certificate_id: str
    certificate_arn: str
    customer: str | None = None

    @property
    def client_id(self) -> str:
        """The MQTT client id."""
        return names.client_id(self.thing_name, self.customer)

    @property
    def proof_topic(self) -> str:
        """The topic for connection tests, which no rule reads."""
        return names.proof_topic(self.environment, self.thing_name, self.customer)

    @property
    def command(self) -> str:
        """The command that makes and repairs this identity."""
        if self.thing_name == names.CLAIM:
            return f"python -m ops.claim --env {self.environment}"
        named = options(self.environment, self.thing_name, self.customer)
        return f"python -m device.provision {named}"

    def topic(self, channel: str) -> str:
        """The plain topic of ``channel``."""
        return names.topic(self.environment, self.thing_name, channel, self.customer)

    def basic_ingest_topic(self, channel: str) -> str:
        """The topic of ``channel`` through Basic Ingest."""
        return names.basic_ingest_topic(self.environment, self.thing_name, channel, self.customer)

    def to_json(self) -> bytes:
        """Return the text of ``device.json``, without ``customer`` if it is None."""
        content = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(content, indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Identity:
    """A complete identity: the folder, and what its ``device.json`` says."""

    folder: Path
    device: DeviceConfig

    @property
    def certificate_path(self) -> Path:
        """The client certificate."""
        return self.folder / CERTIFICATE_FILE

    @property
    def key_path(self) -> Path:
        """The private key."""
        return self.folder / KEY_FILE

    @property
    def ca_path(self) -> Path:
        """The CA certificates that verify the broker."""
        return self.folder / CA_FILE

    @property
    def spool_path(self) -> Path:
        """The spool of readings that the broker has not acknowledged; a publisher makes it."""
        return self.folder / "spool" / "spool.db"


def folder_of(environment: str, client_id: str, root: Path = PROJECT_ROOT) -> Path:
    """The folder of the identity with that client id: ``certs/{environment}/{client_id}``.

    A customer's folder is beside the thing's folder, so that it can be handed over alone.
    """
    return root / "certs" / environment / client_id


def options(environment: str, thing_name: str, customer: str | None) -> str:
    """The options that name an identity to a command: ``--env ENV THING --customer NAME``."""
    named = f"--env {environment} {thing_name}"
    return named if customer is None else f"{named} --customer {customer}"


def load(folder: Path) -> Identity:
    """Read the identity in ``folder`` and check that its key and certificate are a pair.

    Raises:
        IdentityError: The identity is missing, incomplete or inconsistent.
    """
    if not folder.is_dir():
        raise IdentityError(
            f"expected an identity in {folder}, got no such folder",
            remedy=f"run {_provision(folder)}",
        )
    identity = Identity(folder, read_device(folder))
    for path in (identity.certificate_path, identity.key_path, identity.ca_path):
        if not path.is_file():
            raise IdentityError(
                f"expected {path}, got no such file", remedy=_again(identity.device)
            )
    if public_key_of_certificate(identity.certificate_path) != public_key_of_key(identity.key_path):
        raise IdentityError(
            f"expected a key and its certificate in {folder}, got the certificate of another key",
            remedy="restore them from where they were made, or move the folder away and "
            f"{_again(identity.device)}",
        )
    return identity


def _again(device: DeviceConfig) -> str:
    return f"run {device.command}"


def _provision(folder: Path) -> str:
    """The command that makes the identity of ``folder``, with the names from its path."""
    environment, (thing_name, _, customer) = folder.parent.name, folder.name.partition(".")
    if folder.parent.parent.name != "certs" or not re.fullmatch(
        names.THING_NAME_PATTERN, thing_name
    ):
        return "python -m device.provision --env ENV THING"
    return f"python -m device.provision {options(environment, thing_name, customer or None)}"


def read_device(folder: Path) -> DeviceConfig:
    """Read ``device.json``, which exists when provisioning has completed.

    Raises:
        IdentityError: The file is missing, or is not what ``DeviceConfig.to_json`` writes.
    """
    path = folder / DEVICE_FILE
    try:
        content: Any = json.loads(path.read_bytes())
        device = DeviceConfig(**content)
    except FileNotFoundError:
        raise IdentityError(
            f"expected {path}, got no such file: provisioning has not completed",
            remedy=f"run {_provision(folder)} again",
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise IdentityError(
            f"expected an identity's {DEVICE_FILE}, got {path}: {error}", remedy=_restore(path)
        ) from None
    for name, kind in get_type_hints(DeviceConfig).items():
        if type(getattr(device, name)) not in (get_args(kind) or (kind,)):
            raise IdentityError(
                f"expected {name} to be {getattr(kind, '__name__', kind)}, "
                f"got {getattr(device, name)!r} in {path}",
                remedy=_restore(path),
            )
    return device


def _restore(path: Path) -> str:
    """The remedy for a file that ``device.provision`` cannot make again."""
    return (
        f"restore it from where it was made, or move {path.parent} away and run "
        f"{_provision(path.parent)} again"
    )


def discard(folder: Path) -> None:
    """Remove every file of the identity except its spool, whose readings may still be sent.

    ``device.json`` is removed last, so that an interrupted removal can be detected and repeated.
    """
    description = folder / DEVICE_FILE
    if description.is_symlink() and description.exists():
        # The link's target is removed below.
        files.write_private(description, description.read_bytes())
    for name in (KEY_FILE, CERTIFICATE_FILE, CA_FILE, ROTATION_FILE, CURRENT):
        files.remove(folder / name)
    for pair in (folder / name for name in PAIRS):
        if pair.exists():
            shutil.rmtree(pair)
    files.remove(description)


def refuse_leftovers(folder: Path) -> None:
    """Check that ``folder``, which has no ``device.json``, has no other file of an identity.

    Raises:
        IdentityError: It has such a file.
    """
    if any((folder / name).exists() for name in (KEY_FILE, CERTIFICATE_FILE, CA_FILE)):
        raise IdentityError(
            f"expected {folder} to be empty or complete, got files without {DEVICE_FILE}",
            remedy="move the folder away and run this again",
        )


def public_key_of_certificate(path: Path) -> bytes:
    """The public key of the certificate in ``path``, DER.

    Raises:
        IdentityError: The file is not a certificate.
    """
    try:
        return public_key_of_pem(path.read_text("ascii"))
    except (OSError, ValueError):
        raise IdentityError(
            f"expected a PEM certificate in {path}", remedy=f"run {_provision(path.parent)} again"
        ) from None


def public_key_of_pem(certificate: str) -> bytes:
    """The public key of a PEM certificate, DER.

    Raises:
        ValueError: The text is not a certificate.
    """
    public_key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_key_of_key(path: Path) -> bytes:
    """The public half of the private key in ``path``, DER.

    Raises:
        IdentityError: The file is not an unencrypted private key. The message never quotes it.
    """
    try:
        public_key = load_private_key(path.read_bytes(), password=None).public_key()
    except (OSError, ValueError, TypeError):
        raise IdentityError(
            f"expected an unencrypted PEM private key in {path}", remedy=_restore(path)
        ) from None
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
