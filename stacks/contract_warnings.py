"""Warn at synthesis of contracts that differ incompatibly from the last commit."""

from collections.abc import Iterable

from aws_cdk import Annotations, Stack

from contracts import Contract, ContractError, changes, revisions


def warn_of_incompatible_contracts(stack: Stack, contracts: Iterable[Contract]) -> None:
    """Add a warning to ``stack`` for each contract that differs incompatibly.

    There is no warning where they cannot be compared: without git, outside a repository, or if the
    contract is new.
    """
    for contract in contracts:
        try:
            old = revisions.load_at(contract.channel, "HEAD")
        except (revisions.RevisionError, ContractError):
            continue
        found = [] if old is None else changes.compare(old, contract)
        paths = [f"{each.path} ({each.kind})" for each in found if not each.is_compatible]
        if paths:
            Annotations.of(stack).add_warning_v2(
                f"contracts:{contract.channel}",
                f"contracts/{contract.channel}.json differs incompatibly from the last commit: "
                f"{', '.join(paths)}; run python -m ops.contract check {contract.channel}",
            )
