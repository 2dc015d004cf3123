"""What every test needs: the project's own Node.js for the CDK, Hypothesis's profiles, workers."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Before anything imports aws_cdk, which starts `node` from the PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"

# A busy machine may take long over an example. CI tries the same examples each time, so that a
# change is judged by what it changes; everyone else looks for new ones.
settings.register_profile("busy", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "busy")

# In the order in which workers take them: what takes longest comes first. The files of tests/local
# that are not named have one local stack in common, and those of tests/infra the templates.
_GROUPS = (
    "tests/local/",
    "tests/local/test_lifecycle.py",
    "tests/local/test_readme.py",
    "tests/local/test_contract.py",
    "tests/infra/",
)


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a worker all tests of one group: those of a file, or that share something costly."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return max((group for group in _GROUPS if file.startswith(group)), key=len, default=file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Distribute the tests in the order in which they were collected."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers start with the longest group; a single process starts with the quickest."""
    if hasattr(config, "workerinput"):
        order = {group: position for position, group in enumerate(_GROUPS)}
        items.sort(key=lambda item: order.get(_group(item.nodeid), len(order)))
