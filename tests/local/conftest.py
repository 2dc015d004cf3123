"""The local stack for end-to-end tests: the one that is up, or one for the session."""

import contextlib
import gzip
import io
import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest

from contracts import names
from device import aws
from device.identity import Identity
from device.registry.registration import provision
from local import stack
from local.state import ENVIRONMENT, IDENTITIES, ROOT

CHANNEL = "telemetry"
WAIT_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sockets are for these tests only."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.enable_socket)


T = TypeVar("T")


def wait_until(found: Callable[[], T], what: str) -> T:
    """Return what ``found`` gives as soon as it is true."""
    until = time.monotonic() + WAIT_SECONDS
    while not (value := found()):
        assert time.monotonic() < until, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.2)
    return value


def wait_for(found: Callable[[], list[T]], count: int, what: str) -> list[T]:
    """Return what ``found`` gives as soon as it is at least ``count`` long."""
    last: list[T] = []

    def enough() -> bool:
        last[:] = found()
        return len(last) >= count

    wait_until(enough, f"{count} {what}")
    return last


@dataclass(frozen=True, slots=True)
class Lake:
    """The deployed stack, as an operator sees it."""

    environment: aws.AwsEnvironment
    # When these tests began, in whole seconds as S3's own times: readings of earlier runs are left
    # out.
    since: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    _bodies: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def client(self, name: str) -> Any:
        return self.environment.session.client(name)  # type: ignore[call-overload]

    def bucket(self, output: str) -> str:
        return aws.stack_outputs(self.client("cloudformation"), ENVIRONMENT)[output]

    def resource(self, type_: str, part: str) -> str:
        """The physical id of the one resource of ``type_`` whose logical id contains ``part``."""
        (found,) = (
            resource["PhysicalResourceId"]
            for resource in aws.listed(
                self.client("cloudformation"),
                "list_stack_resources",
                "StackResourceSummaries",
                StackName=names.stack_name(ENVIRONMENT),
            )
            if resource["ResourceType"] == type_ and part in resource["LogicalResourceId"]
        )
        return str(found)

    def objects(
        self, output: str, prefix: str, *, since: datetime | None = None
    ) -> dict[str, bytes]:
        """The objects under ``prefix``, without those that were last written before ``since``."""
        s3, bucket = self.client("s3"), self.bucket(output)
        found = {}
        for entry in aws.listed(s3, "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix):
            if since and entry["LastModified"] < since:
                continue
            key, version = entry["Key"], (entry["Key"], entry["ETag"])
            # Parsing the same object again may remove one in between.
            with contextlib.suppress(s3.exceptions.NoSuchKey):
                if version not in self._bodies:
                    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
                    self._bodies[version] = body.read()
                found[key] = self._bodies[version]
        return found

    def raw_lines(self, thing: str) -> list[dict[str, Any]]:
        return [
            envelope
            for body in self.objects("RawBucket", f"raw/{CHANNEL}/", since=self.since).values()
            for line in gzip.decompress(body).splitlines()
            if f"/{thing}/".encode() in line  # other tests write lines that are no envelopes
            if (envelope := json.loads(line))["topic"].split("/")[2] == thing
        ]

    def rows(self, thing: str) -> list[dict[str, Any]]:
        return [
            row
            for body in self.objects(
                "ParsedBucket", f"parsed/{CHANNEL}/", since=self.since
            ).values()
            for row in _rows(body)
            if row["thing_name"] == thing
        ]

    def rejected(self, thing: str) -> list[dict[str, Any]]:
        import base64  # noqa: PLC0415

        return [
            line
            for body in self.objects(
                "ParsedBucket", f"rejected/{CHANNEL}/", since=self.since
            ).values()
            for line in map(json.loads, gzip.decompress(body).splitlines())
            if f"/{thing}/".encode() in base64.b64decode(line["line"])
        ]


@contextlib.contextmanager
def refusing_batches(lake: Lake) -> Iterator[None]:
    """The raw bucket refuses new batches."""
    s3, bucket = lake.client("s3"), lake.bucket("RawBucket")
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    refusal = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/raw/*",
    }
    statements = [*policy["Statement"], refusal]
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**policy, "Statement": statements}))
    try:
        yield
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


@cache
def _rows(parquet: bytes) -> list[dict[str, Any]]:
    return pq.read_table(io.BytesIO(parquet)).to_pylist()  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def lake() -> Iterator[Lake]:
    """The stack stays up while any process of the tests uses it; its data stay."""
    with stack.in_use(lambda _: contextlib.nullcontext()):
        yield Lake(aws.session_for(ENVIRONMENT))


@pytest.fixture(scope="module")
def no_events_of_other_tests(lake: Lake) -> None:
    """Tests of broken objects leave events with which the parser fails again and again."""
    for queue in ("ParserFunctionQueue", "ParserFunctionDeadLetterQueue"):
        lake.client("sqs").purge_queue(QueueUrl=lake.resource("AWS::SQS::Queue", queue))


@pytest.fixture
def make_device(lake: Lake) -> Iterator[Callable[[], Identity]]:
    """Provision another thing, with a name that no other test has."""
    made: list[str] = []

    def make() -> Identity:
        made.append(f"test-{secrets.token_hex(4)}")
        return provision(lake.environment, made[-1], lambda _: None)

    yield make
    for name in made:
        for folder in IDENTITIES.glob(f"{name}*"):  # its customers' too
            shutil.rmtree(folder)


@pytest.fixture
def device(make_device: Callable[[], Identity]) -> Identity:
    return make_device()


@pytest.fixture
def run_module() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m …`` as a user does."""

    def run(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    return run
