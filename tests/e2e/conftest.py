"""A stage of its own for each test, or one with its bot running for the tests of a module that end nothing."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.stage import House, Stage, open_stage

JOURNAL = os.environ.get("E2E_JOURNAL")
"""A folder for the journals of all local GitHubs of these tests, which `python -m tests.judge` reads afterwards."""

# What the guide's blocks must have done is asserted there: a failure shall say what it compared.
pytest.register_assert_rewrite(*(f"tests.e2e.guide{part}" for part in ("", "_commands", "_examples", "_practices")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let the local GitHubs of end-to-end tests, and no others, keep their journals."""
    kept = JOURNAL if item.path.is_relative_to(Path(__file__).parent) else None
    if kept:
        os.environ["LOCALHUB_JOURNAL"] = kept
    try:
        return (yield)
    finally:
        if kept:
            del os.environ["LOCALHUB_JOURNAL"]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with open_stage(tmp_path_factory.mktemp("house")) as opened, opened.bot() as bot:
        yield House(opened, bot)


@pytest.fixture
def nap() -> str:
    """A number of seconds that no other process on this machine sleeps for."""
    return f"{random.randrange(10**8, 10**9)}"
