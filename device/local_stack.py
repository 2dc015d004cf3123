"""How commands reach the stack on this machine, which ``python -m local up`` starts."""

import json
from configparser import ConfigParser, SectionProxy
from configparser import Error as ConfigError
from pathlib import Path

import boto3
import botocore.session

from device.errors import AwsError, ExitStatus

ENVIRONMENT = "local"


def session(own: botocore.session.Session, root: Path) -> boto3.Session:
    """Make ``own`` reach the emulator, and nothing else.

    Raises:
        AwsError: The stack is not running.
    """
    path = root / ".local" / "aws" / "config"
    profile = _profile(path)
    # Only this file counts. If a variable or a profile of the same name did, a command for the
    # emulator could run in an AWS account.
    own.set_config_variable("config_file", str(path))
    own.set_config_variable("credentials_file", str(path.with_name("credentials")))
    overrides = own.get_component("config_store")
    for name in ("endpoint_url", "ca_bundle"):
        overrides.set_config_variable(name, profile[name])
    overrides.set_config_variable("ignore_configured_endpoint_urls", False)  # as that variable may
    return boto3.Session(botocore_session=own, region_name=profile["region"])


def _profile(path: Path) -> SectionProxy:
    config = ConfigParser(interpolation=None)
    try:
        config.read_string(path.read_text("utf-8"))
        profile = config[f"profile {ENVIRONMENT}"]
        for name in ("region", "endpoint_url", "ca_bundle"):
            profile[name]
    except (OSError, ValueError, LookupError, ConfigError):
        raise _not_running() from None
    return profile


def broker(root: Path) -> tuple[str, int, bytes]:
    """Host and port of the emulator's broker, and the CA of its certificate.

    Raises:
        AwsError: The stack is not running.
    """
    try:
        found = json.loads((root / ".local" / "mqtt.json").read_bytes())
        return found["host"], found["port"], Path(found["ca"]).read_bytes()
    except (OSError, ValueError, LookupError, TypeError):
        raise _not_running() from None


def _not_running() -> AwsError:
    return AwsError(
        "the local stack is not running", ExitStatus.UNREACHABLE, remedy="run python -m local up"
    )
