"""Access to the stack on this machine, which ``python -m local up`` starts."""

import json
import os
from configparser import ConfigParser, SectionProxy
from configparser import Error as ConfigError
from pathlib import Path

import boto3
import botocore.session
from botocore.config import Config

from device.errors import AwsError, ExitStatus

ENVIRONMENT = "local"

_KEYS = ("region", "endpoint_url", "ca_bundle", "aws_access_key_id", "aws_secret_access_key")


def session(own: botocore.session.Session, root: Path) -> boto3.Session:
    """Make a session from ``own`` that reaches the emulator and nothing else.

    Raises:
        AwsError: The stack is not running.
    """
    path = root / ".local" / "aws" / "config"
    profile = _profile(path)
    # Only this file counts. If environment variables or profiles counted, a command for the
    # emulator could run in an AWS account. We read the file ourselves, since botocore would expand
    # a "$" in its path.
    own.session_var_map["profile"] = (None, None, None, None)  # ignore AWS_PROFILE
    own.set_config_variable("config_file", os.devnull)
    own.set_config_variable("credentials_file", os.devnull)
    own.set_credentials(profile["aws_access_key_id"], profile["aws_secret_access_key"])
    overrides = own.get_component("config_store")
    for name in ("endpoint_url", "ca_bundle"):
        overrides.set_config_variable(name, profile[name])
    # Environment variables could set these, too.
    for name in ("ignore_configured_endpoint_urls", "use_fips_endpoint", "use_dualstack_endpoint"):
        overrides.set_config_variable(name, False)
    without_proxy = Config(proxies={})
    config = own.get_default_client_config()
    own.set_default_client_config(config.merge(without_proxy) if config else without_proxy)
    return boto3.Session(botocore_session=own, region_name=profile["region"])


def _profile(path: Path) -> SectionProxy:
    config = ConfigParser(interpolation=None)
    try:
        config.read_string(path.read_text("utf-8"))
        profile = config[f"profile {ENVIRONMENT}"]
        for name in _KEYS:
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


def gateway(root: Path) -> tuple[str, str]:
    """URL of the emulator's AWS APIs, and the file with the CA of its certificate.

    Raises:
        AwsError: The stack is not running.
    """
    profile = _profile(root / ".local" / "aws" / "config")
    return profile["endpoint_url"], profile["ca_bundle"]


def _not_running() -> AwsError:
    return AwsError(
        "the local stack is not running", ExitStatus.UNREACHABLE, remedy="run python -m local up"
    )
