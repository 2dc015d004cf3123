"""Synthesis warns of contracts that differ incompatibly from the last commit."""

import json
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Annotations, Match

import contracts
from contracts import Contract, ContractError, parse, revisions
from contracts.revisions import RevisionError
from stacks.contract_warnings import warn_of_incompatible_contracts

NOW = contracts.load("telemetry")


def warnings(monkeypatch: pytest.MonkeyPatch, committed: Contract | Exception | None) -> list[str]:
    def load_at(_channel: str, revision: str) -> Contract | None:
        assert revision == "HEAD"
        if isinstance(committed, Exception):
            raise committed
        return committed

    monkeypatch.setattr(revisions, "load_at", load_at)
    stack = Stack(App())
    warn_of_incompatible_contracts(stack, [NOW])
    found: list[Any] = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    return [str(each.entry.data) for each in found]


def without(field: str, **changes: Any) -> Contract:
    document = json.loads(json.dumps(NOW.document))
    document["properties"][field] |= changes
    return parse("telemetry", json.dumps(document))


def test_warns_of_an_incompatible_change_and_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (warning,) = warnings(monkeypatch, without("sequence", minimum=-5))
    assert "$.sequence (narrowed)" in warning
    assert "run python -m ops.contract check telemetry" in warning


@pytest.mark.parametrize(
    "committed",
    [
        pytest.param(NOW, id="the same contract"),
        pytest.param(without("firmware", maxLength=8), id="a narrower contract"),
        pytest.param(None, id="no contract"),
        pytest.param(RevisionError("no git"), id="no repository"),
        pytest.param(ContractError("broken"), id="a broken contract"),
    ],
)
def test_does_not_warn_otherwise(
    monkeypatch: pytest.MonkeyPatch, committed: Contract | Exception | None
) -> None:
    assert warnings(monkeypatch, committed) == []
