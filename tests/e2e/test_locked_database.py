"""Another process holds SQLite's write lock while a run works: that is waited for or said, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.counts import FAULTS, count
from tests.e2e.command_line import CommandLine, ended, list_price, two_modules, wait_for
from tests.e2e.stage import GOOD_CHECKS, Stage, open_stage, until
from tests.loopback import ModelServer, Script

pytestmark = pytest.mark.slow


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of a database."""
    count(FAULTS)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(two_modules()) as running:
        yield running


def user(tmp_path: Path, server: ModelServer, timeout: int) -> CommandLine:
    url = f"sqlite:///{tmp_path}/home/state.db?timeout={timeout}"
    return CommandLine(tmp_path, server, more={"ORCHESTRATOR_DATABASE_URL": url})


def test_a_lock_that_is_held_for_a_moment_is_waited_for(tmp_path: Path, server: ModelServer) -> None:
    line = user(tmp_path, server, 20)
    server.hold_after(2)
    process = line.build()
    wait_for(lambda: len(server.journal) == 3)
    with locked(tmp_path / "home" / "state.db") as other:
        server.release()
        threading.Timer(2.0, other.rollback).start()
        ending = ended(process)
    assert (ending.status, ending.err) == (0, "")
    assert line.report()["status"] == "completed"


def test_a_lock_that_is_held_for_longer_is_named_and_the_run_goes_on_afterwards(
    tmp_path: Path, server: ModelServer
) -> None:
    line, file = user(tmp_path, server, 1), tmp_path / "home" / "state.db"
    server.hold_after(2)
    process = line.build()
    wait_for(lambda: len(server.journal) == 3)
    with locked(file):
        server.release()
        first = ended(process)
        listed = line.run("--list-projects")
    assert (first.status, first.err) == (
        1,
        f"orchestrator: The database {file} is locked: another process has been writing to it for over 1 s.\n"
        f"End that process (`fuser {file}` names it), then go on: what was done so far is kept.\n"
        "Go on with: python -m orchestrator --resume sample\n",
    )
    # Whoever only reads is not kept waiting.
    assert (listed.status, listed.err) == (0, "")
    second = line.run("--resume", "sample")
    assert (second.status, second.err) == (0, "")
    assert line.report()["status"] == "completed"
    assert line.report()["budget"]["spent_usd"] >= sum(list_price(call) for call in server.billed) - 1e-12
    assert line.accounts()["run:sample"][1] == 0


def test_a_file_that_is_no_database_is_named(tmp_path: Path, server: ModelServer) -> None:
    line, file = user(tmp_path, server, 1), tmp_path / "home" / "state.db"
    file.parent.mkdir(mode=0o700)
    file.write_text("no database at all, but a text that is long enough to be taken for one" * 20)
    ending = ended(line.build())
    assert (ending.status, ending.err) == (
        1,
        f"orchestrator: The file {file} is not a database.\n"
        "Move it away, or name another one in ORCHESTRATOR_DATABASE_URL, "
        "then go on: what was done so far is kept.\n",
    )
    assert server.journal == []


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, Script(tasks=1)) as opened:
        yield opened


async def test_a_bot_whose_database_is_locked_refuses_deliveries_within_ten_seconds_and_loses_none(
    stage: Stage,
) -> None:
    scene = await stage.scene()
    async with stage.bot() as bot:
        stage.models.hold_after(2)
        asked = await scene.command()
        await until(lambda: len(stage.models.journal) == 3, "the third question")
        # when
        with locked(stage.database) as other:
            stage.models.release()
            began = time.monotonic()
            refused, ready = await asyncio.gather(scene.command(), bot.get("/readyz"))
            took = time.monotonic() - began
            alive, shown = await bot.get("/healthz"), await bot.get("/api/runs")
            other.rollback()
        # then
        assert (refused.status, refused.answer) == (
            503,
            {"error": "The delivery could not be stored; send it again later."},
        )
        assert (ready.status_code, ready.json()["reason"]) == (503, "the database cannot be written")
        assert (alive.status_code, shown.status_code) == (200, 200)
        assert took < 15
        for missed in [it for it in stage.hub.deliveries if it.status_code == 503]:
            stage.hub.redeliver(missed.id)
        for one in (asked, refused):
            await one.reacted("rocket")
        await asked.settled()
        assert (await bot.get("/readyz")).json() == {"status": "ready"}
    for pull in scene.hub.pull_requests(scene.repository):
        assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    assert len(scene.hub.pull_requests(scene.repository)) == 2
