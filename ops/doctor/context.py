"""The context of the checks: one identity of one environment."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from contracts import names
from device import aws, identity
from device.delivery import spool_file
from device.errors import IdentityError, SpoolError, SpoolInUse
from device.identity import DeviceConfig, Identity
from ops.doctor.deployed import Deployed
from ops.doctor.findings import Skipped


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Context:
    """One identity of one environment.

    Attributes:
        environment_name: The environment's name in ``cdk.json``.
        thing_name: The thing whose messages do not appear.
        channel: Name of the contract.
        root: The project's folder.
        customer: The customer whose identity it is; None for the thing's own identity.
        take_over: Connect even if that disconnects a publisher.
        environment: The open environment; None until a check has opened it with credentials.
        clock: This machine's clock.
    """

    environment_name: str
    thing_name: str
    channel: str
    root: Path
    customer: str | None = None
    take_over: bool = False
    environment: aws.AwsEnvironment | None = None
    clock: Callable[[], datetime] = _now

    @property
    def folder(self) -> Path:
        """The identity's folder."""
        return identity.folder_of(self.environment_name, self.client_id, self.root)

    @property
    def client_id(self) -> str:
        """The client id with which the device must connect."""
        return names.client_id(self.thing_name, self.customer)

    @property
    def device(self) -> DeviceConfig:
        """The content of ``device.json``."""
        try:
            return identity.read_device(self.folder)
        except IdentityError:
            raise Skipped("there is no readable device.json") from None

    @property
    def identity(self) -> Identity:
        """The identity; its files are not checked."""
        return Identity(self.folder, self.device)

    @property
    def topic(self) -> str:
        """The device's topic through Basic Ingest, which ``device.publish`` uses."""
        return names.basic_ingest_topic(
            self.environment_name, self.thing_name, self.channel, self.customer
        )

    @property
    def plain_topic(self) -> str:
        """The topic without Basic Ingest's prefix, as rules and envelopes contain it."""
        return names.topic(self.environment_name, self.thing_name, self.channel, self.customer)

    def spool_contents(self) -> spool_file.Contents | None:
        """The content of the spool; None if there is no spool.

        Raises:
            SpoolInUse: A publisher has it open.
            SpoolError: The spool is damaged.
        """
        path = self.identity.spool_path
        return spool_file.contents_of(path) if path.exists() else None

    @property
    def publisher_is_at_work(self) -> bool:
        """Whether a process on this machine publishes with this identity."""
        try:
            self.spool_contents()
        except SpoolInUse:
            return True
        except (SpoolError, Skipped):
            pass
        return False

    @property
    def cloud(self) -> aws.AwsEnvironment:
        """The environment in its AWS account."""
        if self.environment is None:
            raise Skipped("no access to the environment's AWS account")
        return self.environment

    def client(self, service: str) -> Any:
        """A client for ``service`` in the environment's account."""
        return self.cloud.client(service)

    @cached_property
    def deployed(self) -> Deployed:
        """What is deployed in the environment."""
        return Deployed(self.client, self.environment_name, self.channel)
