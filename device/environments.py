"""The environments of ``cdk.json``. Only this module and the CDK read that file."""

import json
from pathlib import Path
from typing import Any

from device.errors import AwsError, ExitStatus
from device.identity import PROJECT_ROOT


def known(root: Path = PROJECT_ROOT) -> list[str]:
    """The names of all environments; an empty list on a device, which has no cdk.json."""
    try:
        return sorted(_read(root))
    except AwsError:
        return []


def settings_of(environment: str, root: Path = PROJECT_ROOT) -> dict[str, Any]:
    """The block of ``environment``.

    Raises:
        AwsError: ``cdk.json`` or its block is missing.
    """
    blocks = _read(root)
    if environment not in blocks:
        raise AwsError(
            f"expected an environment of cdk.json ({', '.join(sorted(blocks))}), "
            f"got {environment!r}",
            ExitStatus.ENVIRONMENT,
        )
    settings = blocks[environment]
    return settings if isinstance(settings, dict) else {}


def _read(root: Path) -> dict[str, Any]:
    path = root / "cdk.json"
    try:
        return dict(json.loads(path.read_bytes())["context"]["environments"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AwsError(
            f"expected context.environments in {path}, got {error!r}", ExitStatus.ENVIRONMENT
        ) from None
