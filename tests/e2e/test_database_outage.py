"""PostgreSQL restarts, stops for a while, or falls silent under a bot at work: the run goes on afterwards, once."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.counts import FAULTS, count
from tests.e2e.stage import Asked, Stage, billed_usd, open_stage, until
from tests.e2e.test_many_bots import TAKEOVER, assert_one_of_everything
from tests.line import Line
from tests.loopback import Script
from tests.postgresql import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]

# A worker of each queue, one listener of each, and at most one new connection a second for whoever looks or waits.
CONNECTIONS_A_SECOND = 8


@pytest.fixture
async def stage(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, Script(tasks=2), postgresql=cluster.new_database(), config=TAKEOVER) as opened:
        yield opened


async def at_the_fifth_question(stage: Stage) -> Asked:
    scene = await stage.scene()
    stage.models.hold_after(4)
    asked = await scene.command()
    await until(lambda: len(stage.models.journal) == 5, "the fifth question")
    return asked


async def assert_it_ends_once(stage: Stage, asked: Asked) -> None:
    await asked.reacted("rocket")
    await asked.settled()
    assert_one_of_everything(asked)
    assert stage.reserved() == 0
    ((spent,),) = stage.rows(f"SELECT spent FROM accounts WHERE id = 'run:{asked.run_id}'")
    assert int(spent) / 10**12 >= billed_usd(stage.models.journal) - 1e-9


@pytest.mark.parametrize(
    ("how", "seconds"),
    [(signal.SIGINT, 0), (signal.SIGQUIT, 0), (signal.SIGINT, 15)],
    ids=["fast", "immediate", "down"],
)
async def test_a_run_goes_on_after_a_restart_of_the_server_and_deliveries_are_refused_meanwhile(
    stage: Stage, cluster: Cluster, how: signal.Signals, seconds: int
) -> None:
    # given
    async with Line(stage.postgresql) as line, stage.bot({"ORCHESTRATOR_DATABASE_URL": line.url}) as bot:
        asked = await at_the_fifth_question(stage)
        before, began = line.connections, time.monotonic()
        # when
        count(FAULTS)
        await asyncio.to_thread(cluster.stop, how)
        stage.models.release()
        try:
            if seconds:
                refused = await asked.scene.command()
                assert refused.status == 503
                ready = await bot.get("/readyz")
                assert (ready.status_code, ready.json()["reason"]) == (503, "the database cannot be written")
                assert (await bot.get("/healthz")).status_code == 200
                await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
            made, down = line.connections - before, time.monotonic() - began
        finally:
            await asyncio.to_thread(cluster.start)
        # then
        if seconds:
            for missed in [it for it in stage.hub.deliveries if it.status_code == 503]:
                stage.hub.redeliver(missed.id)
            await refused.reacted("rocket")
            await asked.reacted("rocket")
            await asked.settled()
            assert len(asked.scene.hub.pull_requests(asked.scene.repository)) == 2
        else:
            await assert_it_ends_once(stage, asked)
        assert made <= CONNECTIONS_A_SECOND * (down + 1)
        ready = await bot.get("/readyz")
        assert ready.json() == {"status": "ready"}


async def test_a_bot_whose_server_is_silent_answers_within_seconds_and_ends_when_it_is_asked_to(stage: Stage) -> None:
    # given
    async with Line(stage.postgresql) as line, stage.bot({"ORCHESTRATOR_DATABASE_URL": line.url}) as bot:
        asked = await at_the_fifth_question(stage)
        # when
        line.cut()
        stage.models.release()
        began = time.monotonic()
        ready, refused = await asyncio.gather(bot.get("/readyz"), asked.scene.command())
        # then
        assert (ready.status_code, refused.status) == (503, 503)
        assert time.monotonic() - began < 15
        began = time.monotonic()
        await bot.stop()
        assert time.monotonic() - began < 15
    async with stage.bot():
        # What was refused is asked for again by the next process, when it starts.
        for one in (asked, refused):
            await one.reacted("rocket")
        await asked.settled()
    assert len(asked.scene.hub.pull_requests(asked.scene.repository)) == 2


async def test_a_server_that_cannot_be_reached_at_the_start_is_named(stage: Stage, cluster: Cluster) -> None:
    env = stage.environment() | {"ORCHESTRATOR_DATABASE_URL": "postgresql://bot:geheim-geheim@127.0.0.1:9/runs"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert (process.returncode, out.decode()) == (1, "")
    assert err.decode() == (
        "The database server 127.0.0.1:9 cannot be reached.\n"
        "Start it, or mend the way to it, or correct ORCHESTRATOR_DATABASE_URL, "
        "then go on: what was done so far is kept.\n"
    )
