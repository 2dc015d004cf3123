"""The files of the identity."""

import stat

from cryptography import x509

from device import cli, identity
from device.errors import ExitStatus
from device.registry import certificates
from ops.doctor import remedies
from ops.doctor.context import Context
from ops.doctor.examination import Stage
from ops.doctor.findings import Failed


def files(context: Context) -> str:
    """Every file of the identity is there, and provisioning has completed."""
    if not context.folder.is_dir():
        raise Failed(f"there is no identity in {context.folder}", remedies.provision(context))
    if (context.folder / certificates.IssueJournal.FILE).exists():
        raise Failed("provisioning was interrupted", remedies.provision(context))
    device = identity.read_device(context.folder)
    found = (device.environment, device.thing_name, device.customer)
    if found != (context.environment_name, context.thing_name, context.customer):
        raise Failed(
            f"device.json is of {device.client_id} in {device.environment}",
            "move the folder to where its device.json says",
        )
    ours = context.identity
    for path in (ours.certificate_path, ours.key_path, ours.ca_path):
        if not path.is_file():
            raise Failed(f"there is no {path}", remedies.provision(context))
    return str(context.folder)


def modes(context: Context) -> str:
    """Only the owner can read the key."""
    for path, mode in ((context.identity.key_path, 0o600), (context.folder, 0o700)):
        found = stat.S_IMODE(path.stat().st_mode)
        if found & 0o077:
            raise Failed(
                f"{path} is open to other users of this machine (mode {found:04o})",
                f"run chmod {mode:o} {path}",
            )
    return "only the owner can read the key"


def pair(context: Context) -> str:
    """Key and certificate belong together."""
    identity.load(context.folder)
    return "the certificate belongs to the key"


def ca(context: Context) -> str:
    """There is a certificate with which to verify the broker."""
    path = context.identity.ca_path
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        raise Failed(
            f"there is no PEM certificate in {path}", remedies.provision(context)
        ) from None
    return f"{cli.counted(len(found), 'certificate')} to verify the broker with"


def dates(context: Context) -> str:
    """The certificate is valid now, by this machine's clock."""
    certificate = x509.load_pem_x509_certificate(context.identity.certificate_path.read_bytes())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    now = context.clock()
    if now < begins:
        raise Failed(
            f"the certificate is valid from {begins:%Y-%m-%d}, and this machine's clock says "
            f"{cli.utc(now)}",
            "set this machine's clock",
        )
    if now >= ends:
        raise Failed(
            f"the certificate has expired on {ends:%Y-%m-%d}",
            remedies.ours(context, "device.rotate"),
        )
    return f"valid until {ends:%Y-%m-%d}"


STAGE = Stage(
    "identity",
    ExitStatus.IDENTITY,
    {"files": files, "modes": modes, "pair": pair, "ca": ca, "dates": dates},
)
