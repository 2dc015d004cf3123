"""Get a certificate for a key that is made on this machine and never leaves it.

CreateCertificateFromCsr makes a new certificate at every call, and its answer may be lost. So every
step is written to a journal before the next one begins, and a certificate whose answer was lost is
found again by its public key. However often an attempt is interrupted, there is one certificate in
the end. It stays INACTIVE until the caller activates it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from device import files, identity
from device.errors import IdentityError
from device.identity import DeviceConfig, Identity
from device.registry.journal import JournalFile

if TYPE_CHECKING:  # the stubs are a development requirement
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot.type_defs import CertificateTypeDef

# How far this machine's clock may be ahead of AWS's in a search for a lost certificate. AWS rejects
# requests from clocks that are off by more than a few minutes.
_CLOCK_TOLERANCE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate of AWS IoT."""

    certificate_id: str
    certificate_arn: str
    certificate_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueJournal(JournalFile):
    """The progress of an attempt.

    Attributes:
        started_at: When the attempt began: none of its certificates is older.
        certificate: The certificate that AWS IoT issued; None until it is known.
        new_key: The files in the folder belong to a certificate that was revoked or deleted.
            They are removed first, so that the new certificate gets a new key.
    """

    FILE = "provisioning.json"

    started_at: datetime
    certificate: Certificate | None = None
    new_key: bool = False


def issue(
    iot: "IoTClient", folder: Path, common_name: str, report: Callable[[str], None]
) -> Certificate:
    """Return the certificate of the key in ``folder``; make both if they are missing.

    Call it again after any interruption. Until ``install`` removes the journal, it returns the
    same certificate.

    Args:
        iot: A client that does not retry CreateCertificateFromCsr: a repeated call whose first
            answer was lost makes a second certificate.
        folder: Holds ``private.key`` and the journal.
        common_name: Common name of the certificate's subject, for people only.
        report: Called with a line of text.

    Raises:
        IdentityError: The journal or the key exists but cannot be read.
        botocore.exceptions.ClientError: AWS IoT refuses.
    """
    entry = IssueJournal.read(folder)
    resumed = entry is not None and not entry.new_key
    if entry is None or entry.new_key:
        if entry is not None:
            identity.discard(folder)
        entry = IssueJournal(started_at=datetime.now(UTC)).write(folder)
    certificate = entry.certificate
    if certificate is None:
        key_path = folder / identity.KEY_FILE
        if not key_path.exists():
            files.write_private(key_path, new_key())
            resumed = False
        certificate = _find_lost(iot, key_path, entry.started_at) if resumed else None
        if certificate is None:
            certificate = _create(iot, key_path, common_name)
        replace(entry, certificate=certificate).write(folder)
    report(f"certificate {certificate.certificate_id}: issued, not active yet")
    return certificate


def _create(iot: "IoTClient", key_path: Path, common_name: str) -> Certificate:
    answer = iot.create_certificate_from_csr(
        certificateSigningRequest=signing_request(key_path, common_name), setAsActive=False
    )
    return Certificate(
        certificate_id=answer["certificateId"],
        certificate_arn=answer["certificateArn"],
        certificate_pem=answer["certificatePem"],
    )


def install(
    iot: "IoTClient",
    folder: Path,
    device: DeviceConfig,
    *,
    certificate_pem: str,
    ca_pem: bytes,
    report: Callable[[str], None],
) -> Identity:
    """Write the files of an attached certificate, then activate it if it was just issued.

    Returns:
        The complete identity in ``folder``.

    Raises:
        IdentityError: The files cannot be written.
        botocore.exceptions.ClientError: AWS IoT refuses.
    """
    write_files(folder, certificate_pem, ca_pem, report)
    _write_changed(folder / identity.DEVICE_FILE, device.to_json(), report)  # makes it complete
    if IssueJournal.read(folder) is not None:
        iot.update_certificate(certificateId=device.certificate_id, newStatus="ACTIVE")
        report(f"certificate {device.certificate_id}: active")
        files.remove(folder / IssueJournal.FILE)
    return identity.load(folder)


def write_files(
    folder: Path, certificate_pem: str, ca_pem: bytes, report: Callable[[str], None]
) -> None:
    """Write the certificate and the CA unless the files have this content already."""
    _write_changed(folder / identity.CERTIFICATE_FILE, certificate_pem.encode(), report)
    _write_changed(folder / identity.CA_FILE, ca_pem, report)


def _write_changed(path: Path, content: bytes, report: Callable[[str], None]) -> None:
    if not path.exists() or path.read_bytes() != content:
        files.write_private(path, content)
        report(f"{path}: written")


def new_key() -> bytes:
    """A new private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signing_request(key_path: Path, common_name: str) -> str:
    """The certificate signing request (CSR) for the key in ``key_path``, PEM.

    Raises:
        IdentityError: The key is not an EC key.
    """
    key = load_pem_private_key(key_path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"expected an EC P-256 key in {key_path}, got another kind")
    # X.509 allows 64 characters of common name; a thing's name may have 128.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _find_lost(iot: "IoTClient", key_path: Path, started_at: datetime) -> Certificate | None:
    """Find the certificate of an earlier attempt whose answer was lost."""
    public_key = identity.public_key_of_key(key_path)
    for listed in _listed_since(iot, started_at - _CLOCK_TOLERANCE):
        if listed["status"] != "INACTIVE":
            continue
        found = iot.describe_certificate(certificateId=listed["certificateId"])
        pem = found["certificateDescription"]["certificatePem"]
        if certifies(pem, public_key):
            return Certificate(
                certificate_id=listed["certificateId"],
                certificate_arn=listed["certificateArn"],
                certificate_pem=pem,
            )
    return None


def certifies(pem: str, public_key: bytes) -> bool:
    """Whether ``pem`` is a certificate of ``public_key``, DER."""
    try:
        return identity.public_key_of_pem(pem) == public_key
    except (ValueError, UnsupportedAlgorithm):  # a certificate of a kind that we never make
        return False


def _listed_since(iot: "IoTClient", earliest: datetime) -> Iterator["CertificateTypeDef"]:
    """List the certificates made since ``earliest``, newest first; older pages are not read."""
    pages = iot.get_paginator("list_certificates").paginate(
        ascendingOrder=False, PaginationConfig={"PageSize": 250}
    )
    for page in pages:
        recent = [found for found in page["certificates"] if found["creationDate"] >= earliest]
        yield from recent
        if not recent:
            return
