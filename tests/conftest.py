"""Shared by all tests: how many examples Hypothesis tries, the databases of a store, and what is counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.counts import COUNTS, INPUTS, count, examples, summary
from tests.postgresql import Cluster, running_cluster

settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("full", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

POSTGRESQL = pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")])
"""The group keeps these tests on one worker, which starts one server for all of them."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server that lives as long as the worker."""
    with running_cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", POSTGRESQL])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    running: Cluster = request.getfixturevalue("cluster")
    return running.new_database()


@pytest.fixture
def record_count() -> Callable[[str, int], None]:
    """Add to a count that the end of the test run reports, over all workers."""
    return count


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Count what Hypothesis has tried; its pytest plugin leaves its words about a test on the item."""
    count(INPUTS, examples(getattr(item, "hypothesis_statistics", "")))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand a worker's counts to the process that reports."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["counts"] = dict(COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's counts; one that crashed has none."""
    COUNTS.update(getattr(node, "workeroutput", {}).get("counts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was counted."""
    if lines := [line for line in summary() if not line.endswith(": 0")]:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)
