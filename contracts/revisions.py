"""Read a contract as it was at a revision of the project's git repository."""

import subprocess
from pathlib import Path

from contracts.reader import ContractError, parse
from contracts.schema import Contract

_FOLDER = Path(__file__).parent
_TIMEOUT_SECONDS = 30


class RevisionError(ValueError):
    """There is no such revision, no repository or no git; the message says which."""


def load_at(channel: str, revision: str, folder: Path = _FOLDER) -> Contract | None:
    """Read the contract of ``channel`` at ``revision``; None if it has no such contract.

    Args:
        channel: Name of the contract.
        revision: Anything that names a commit, such as ``HEAD`` or ``origin/main``.
        folder: Where the contracts are, in a work tree.

    Raises:
        RevisionError: The revision cannot be read.
        ContractError: The contract of that time is not within the subset.
    """
    # Verified first: a revision that git takes for an option would do something else.
    verify = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    commit = _git(folder, *verify, f"{revision}^{{commit}}")
    if commit is None:
        raise RevisionError(f"expected a revision of the repository of {folder}, got {revision!r}")
    text = _git(folder, "show", f"{commit.decode().strip()}:./{channel}.json")
    if text is None:
        return None
    try:
        return parse(channel, text)
    except ContractError as error:
        raise ContractError(f"at {revision}: {error}") from None


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git prints; None if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RevisionError(f"expected git, got: {error}") from None
    return done.stdout if done.returncode == 0 else None
