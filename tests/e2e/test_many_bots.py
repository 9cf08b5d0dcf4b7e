"""Several bots share one PostgreSQL: one that dies or falls silent in the middle of a run loses it to another.

The processes are the real bot; a load balancer is not needed, since any of them may be sent a delivery.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.stage import GOOD_CHECKS, Asked, Bot, Stage, billed_usd, open_stage, until
from tests.loopback import Script
from tests.postgresql import Cluster

pytestmark = [pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]

TAKEN_OVER_WITHIN_SECONDS = 60.0


@pytest.fixture
async def stage(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, Script(tasks=2), postgresql=cluster.new_database()) as opened:
        yield opened


def works_on(bot: Bot, run_id: str) -> bool:
    return any(line.get("event") == "working" and line.get("run") == run_id for line in bot.logged())


async def the_one_at_work(bots: list[Bot], asked: Asked) -> tuple[Bot, Bot]:
    """Return the bot that works on the run, and the other one."""
    await until(lambda: any(works_on(bot, asked.run_id) for bot in bots), "the work")
    (at_work,) = [bot for bot in bots if works_on(bot, asked.run_id)]
    (idle,) = [bot for bot in bots if bot is not at_work]
    return at_work, idle


def assert_one_of_everything(asked: Asked) -> None:
    scene, pull = asked.scene, asked.pull
    assert scene.checks() == scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{pull['number']} · 2/2 tasks · ")
    (report,) = scene.ours(pull["number"])
    assert report.endswith(f"<!-- orchestrator:report run={asked.run_id} -->")
    assert sorted(scene.reactions(asked.comment)) == ["eyes", "rocket"]


@pytest.mark.slow
async def test_five_runs_on_two_bots_are_each_done_once(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    async with stage.bot() as one, stage.bot() as other:
        asked = [await scene.command() for _ in range(5)]
        for run in asked:
            await run.reacted("rocket")
        await asked[0].settled()
        done = [[works_on(bot, run.run_id) for bot in (one, other)].count(True) for run in asked]
    assert done == [1] * 5
    assert len({run.run_id for run in asked}) == len(scene.hub.pull_requests(scene.repository)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_bot_that_dies_or_falls_silent_in_the_middle_of_a_run_loses_it_to_the_other_within_a_minute(
    stage: Stage, how: signal.Signals
) -> None:
    # given two bots, of which one waits for the fifth answer
    scene = await stage.scene()
    async with AsyncExitStack() as stack:
        bots = [await stack.enter_async_context(stage.bot()) for _ in range(2)]
        stage.models.hold_after(4)
        asked = await scene.command()
        lost, taker = await the_one_at_work(bots, asked)
        await until(lambda: len(stage.models.journal) == 5, "the fifth question")
        finished, calls = stage.finished_tasks(), len(stage.models.journal)
        # when
        lost.process.send_signal(how)
        stage.models.release()
        await until(lambda: works_on(taker, asked.run_id), "the takeover", TAKEN_OVER_WITHIN_SECONDS)
        await asked.reacted("rocket")
        await asked.settled()
        report = await taker.report(asked.run_id)
        # then
        assert report["status"] == "completed"
        assert finished.isdisjoint(stage.generated(stage.models.journal[calls:]))
        assert report["budget"]["spent_usd"] >= billed_usd(stage.models.journal) > 0
        assert stage.reserved() == 0
        assert_one_of_everything(asked)
        # and one that comes back changes nothing more
        if how is signal.SIGSTOP:
            writes = scene.writes()
            lost.process.send_signal(signal.SIGCONT)
            await until(lambda: [it for it in lost.logged() if "taken over" in str(it.get("event"))], "its giving in")
            assert scene.writes() == writes
            assert_one_of_everything(asked)
