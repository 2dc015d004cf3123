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
        AwsError: ``cdk.json`` or its block is missing or wrong.
    """
    blocks = _read(root)
    if environment not in blocks:
        raise AwsError(
            f"expected an environment of cdk.json ({', '.join(sorted(blocks))}), "
            f"got {environment!r}",
            ExitStatus.ENVIRONMENT,
        )
    settings = blocks[environment]
    if not isinstance(settings, dict):
        raise _wrong(environment, "an object", settings)
    for key in ("account", "region"):
        if not isinstance(settings.get(key), str | None):
            raise _wrong(f"{environment}.{key}", "a string", settings[key])
    return settings


def _wrong(place: str, expected: str, got: object) -> AwsError:
    return AwsError(
        f"expected {expected} in cdk.json, context.environments.{place}, got {json.dumps(got)}",
        ExitStatus.ENVIRONMENT,
    )


def _read(root: Path) -> dict[str, Any]:
    path = root / "cdk.json"
    try:
        return dict(json.loads(path.read_bytes())["context"]["environments"])
    except OSError as error:
        got = error.strerror
    except json.JSONDecodeError as error:
        got = f"no JSON: {error}"
    except UnicodeDecodeError:
        got = "text that is not UTF-8"
    except (ValueError, LookupError, TypeError):
        got = "other JSON"
    raise AwsError(f"expected context.environments in {path}, got {got}", ExitStatus.ENVIRONMENT)
