"""Several customers on one thing, on the local stack: each is itself, on its own topics."""

import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts import names
from device.identity import Identity
from device.registry.registration import provision
from local.state import ENVIRONMENT
from tests.local.conftest import CHANNEL, Lake, wait_for
from tests.local.paho_client import RefusedError, connected

RunModule = Callable[..., subprocess.CompletedProcess[str]]

CUSTOMERS = ("acme", "umbrella")


@pytest.fixture
def customers(lake: Lake, device: Identity) -> list[Identity]:
    thing = device.device.thing_name
    return [provision(lake.environment, thing, lambda _: None, customer=name) for name in CUSTOMERS]


def test_customers_of_one_thing_publish_at_the_same_time_each_to_its_own_topic(
    lake: Lake, device: Identity, customers: list[Identity], run_module: RunModule
) -> None:
    thing = device.device.thing_name

    def publish(customer: str | None) -> subprocess.CompletedProcess[str]:
        named = [] if customer is None else ["--customer", customer]
        options = ["--count", "20", "--rate", "10", "--max-linger", "0.2"]
        return run_module(
            *("device.publish", "--env", ENVIRONMENT, "--thing", thing, *named, *options)
        )

    with ThreadPoolExecutor() as threads:
        for done in threads.map(publish, (None, *CUSTOMERS)):
            assert done.returncode == 0, done.stderr
            assert "20 acknowledged" in done.stdout
    rows = wait_for(lambda: lake.rows(thing), 60, "rows of the thing and its customers")
    for identity in (device, *customers):
        assert len([row for row in rows if row["customer"] == identity.device.customer]) == 20
    origins = ("topic", "client_id", "certificate_id")
    assert {tuple(line[key] for key in origins) for line in lake.raw_lines(thing)} == {
        (one.device.topic(CHANNEL), one.device.client_id, one.device.certificate_id)
        for one in (device, *customers)
    }
    assert {row["thing_name"] for row in rows} == {thing}


def test_a_customer_is_refused_on_every_topic_but_its_own(
    device: Identity, customers: list[Identity]
) -> None:
    mine, other = (identity.device for identity in customers)
    with connected(customers[0].folder) as client:
        for topic in (mine.topic(CHANNEL), mine.basic_ingest_topic(CHANNEL), mine.proof_topic):
            assert "Not authorized" not in client.publish(topic, b"")
        for topic in (
            *(other.topic(CHANNEL), other.basic_ingest_topic(CHANNEL), other.proof_topic),
            *(device.device.topic(CHANNEL), device.device.basic_ingest_topic(CHANNEL)),
            device.device.proof_topic,
            f"{mine.topic(CHANNEL)}/more",
            names.topic(ENVIRONMENT, mine.thing_name, "other", "acme"),
        ):
            assert client.publish(topic, b"") == "Not authorized", topic
        assert client.subscribe(mine.topic(CHANNEL)) == "Not authorized"


def test_a_thing_is_refused_on_its_customers_topics(
    device: Identity, customers: list[Identity]
) -> None:
    with connected(device.folder) as client:
        for identity in customers:
            assert client.publish(identity.device.topic(CHANNEL), b"") == "Not authorized"


def test_a_customer_is_refused_under_any_other_client_id(
    device: Identity, customers: list[Identity]
) -> None:
    other = customers[1].device.client_id
    for client_id in (other, device.device.client_id, f"{other}x", "anything"):
        with (
            pytest.raises(RefusedError, match="Not authorized"),
            connected(customers[0].folder, client_id=client_id),
        ):
            pass
    with pytest.raises(RefusedError), connected(device.folder, client_id=other):
        pass


def test_doctor_finds_nothing_wrong_with_a_customer_and_names_its_policy(
    lake: Lake, device: Identity, customers: list[Identity], run_module: RunModule
) -> None:
    thing = device.device.thing_name
    command = ["ops.doctor", "--env", ENVIRONMENT, thing, "--customer", "acme"]
    done = run_module(*command, "--send")
    assert done.returncode == 0, done.stdout
    policy = names.customer_policy_name(ENVIRONMENT, thing, "acme")
    lake.client("iot").detach_policy(policyName=policy, target=customers[0].device.certificate_arn)
    done = run_module(*command, "--no-connect", "--format", "json")
    failed = [f for f in map(json.loads, done.stdout.splitlines()) if f["outcome"] == "failed"]
    assert [(f["stage"], f["check"]) for f in failed] == [("registration", "policy")]
    assert policy in failed[0]["detail"]
    remedy = failed[0]["remedy"].removeprefix("run python -m ").split()
    assert run_module(*remedy).returncode == 0
    assert run_module(*command).returncode == 0


def test_rotate_list_and_revoke_know_the_customers(
    lake: Lake,
    device: Identity,
    customers: list[Identity],
    run_module: RunModule,
    tmp_path: Path,
) -> None:
    thing = device.device.thing_name
    done = run_module("device.rotate", "--env", ENVIRONMENT, thing, "--customer", "acme")
    assert done.returncode == 0, done.stderr
    done = run_module("ops.list", "--env", ENVIRONMENT, "--format", "json")
    listed = [e for e in map(json.loads, done.stdout.splitlines()) if e["thing_name"] == thing]
    assert sorted(e["customer"] or "" for e in listed) == ["", *CUSTOMERS]
    assert [e["warnings"] for e in listed] == [[]] * 3
    # Of one customer, and then of all that is left. The keys are tried once more afterwards.
    copies = [shutil.copytree(c.folder, tmp_path / c.folder.name) for c in customers]
    options = ["--env", ENVIRONMENT, thing, "--delete", "--yes"]
    done = run_module("ops.revoke", *options, "--customer", "acme")
    assert done.returncode == 0, done.stderr
    assert not customers[0].folder.exists()
    with pytest.raises(RefusedError), connected(copies[0]):
        pass
    for folder in (device.folder, customers[1].folder):
        with connected(folder):
            pass
    done = run_module("ops.revoke", *options)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2
    with pytest.raises(RefusedError), connected(copies[1]):
        pass
    iot = lake.client("iot")
    left = [p["policyName"] for p in iot.list_policies()["policies"] if thing in p["policyName"]]
    assert left == []
