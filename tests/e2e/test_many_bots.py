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
from tests.line import Line
from tests.loopback import Script
from tests.postgresql import Cluster

pytestmark = [pytest.mark.postgresql, pytest.mark.xdist_group("postgresql")]

TAKEN_OVER_WITHIN_SECONDS = 60.0
TAKEOVER = "takeover_seconds: 4\n"


@pytest.fixture
async def stage(tmp_path: Path, cluster: Cluster) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path, Script(tasks=2), postgresql=cluster.new_database(), config=TAKEOVER) as opened:
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


def taken_from(bot: Bot) -> bool:
    return any("taken over" in str(line.get("event")) for line in bot.logged())


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
        if how is signal.SIGKILL:
            await lost.kill()
        else:
            lost.process.send_signal(how)
        stage.models.release()
        await until(lambda: works_on(taker, asked.run_id), "the takeover", TAKEN_OVER_WITHIN_SECONDS)
        await asked.reacted("rocket")
        await asked.settled()
        report = await taker.report(asked.run_id)
        # then
        assert report["status"] == "completed"
        about = [it for bot in bots for it in bot.logged() if it.get("delivery") and it.get("event") != "delivery"]
        assert [it for it in about if not it.get("run") or it.get("repository") != scene.repository] == []
        assert {it["event"] for it in about if it["run"] == asked.run_id} >= {"working", "taking over", "step"}
        assert finished.isdisjoint(stage.generated(stage.models.journal[calls:]))
        assert report["budget"]["spent_usd"] >= billed_usd(stage.models.journal) > 0
        assert stage.reserved() == 0
        assert_one_of_everything(asked)
        # and one that comes back changes nothing more
        if how is signal.SIGSTOP:
            writes = scene.writes()
            lost.process.send_signal(signal.SIGCONT)
            await until(lambda: taken_from(lost), "its giving in")
            assert scene.writes() == writes
            assert_one_of_everything(asked)


@pytest.mark.slow
async def test_a_bot_that_was_paused_between_its_commit_and_its_pull_request_opens_none_when_it_comes_back(
    stage: Stage,
) -> None:
    # given two bots, of which one has pushed its commit and looks for a pull request
    scene = await stage.scene()
    looked = scene.hub.faults.add(
        method="GET",
        path_regex=r"/pulls$",
        kind="delay",
        seconds=1.0,
        when=lambda _: bool(scene.requests("POST", "/git/refs")),
    )
    async with AsyncExitStack() as stack:
        bots = [await stack.enter_async_context(stage.bot()) for _ in range(2)]
        asked = await scene.command()
        lost, taker = await the_one_at_work(bots, asked)
        await until(lambda: looked.hits, "the look for a pull request")
        # when
        lost.process.send_signal(signal.SIGSTOP)
        branches = await scene.hub.branches(scene.repository)
        assert (sorted(branches), scene.hub.pull_requests(scene.repository)) == (
            ["main", f"orchestrator/{asked.issue}-sample-library"],
            [],
        )
        await until(lambda: works_on(taker, asked.run_id), "the takeover", TAKEN_OVER_WITHIN_SECONDS)
        lost.process.send_signal(signal.SIGCONT)
        # then it gives in while the other one publishes, and everything is there once
        await until(lambda: taken_from(lost), "its giving in")
        await asked.reacted("rocket")
        await asked.settled()
    assert_one_of_everything(asked)
    assert scene.writes().count("POST /pulls") == scene.writes().count("POST /git/refs") == 1


@pytest.mark.slow
async def test_a_bot_that_is_cut_off_from_the_database_loses_its_run_and_changes_nothing_when_the_line_is_back(
    stage: Stage,
) -> None:
    # given two bots, of which the one at work reaches the database through a line of its own
    scene = await stage.scene()
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(Line(stage.postgresql))
        cut_off = await stack.enter_async_context(stage.bot({"ORCHESTRATOR_DATABASE_URL": line.url}))
        stage.models.hold_after(4)
        asked = await scene.command()
        await until(lambda: works_on(cut_off, asked.run_id), "the work")
        await until(lambda: len(stage.models.journal) == 5, "the fifth question")
        # when
        line.cut()
        stage.models.release()
        taker = await stack.enter_async_context(stage.bot())
        await until(lambda: works_on(taker, asked.run_id), "the takeover", TAKEN_OVER_WITHIN_SECONDS)
        await asked.reacted("rocket")
        await asked.settled()
        writes = scene.writes()
        line.mend()
        # then
        await until(lambda: taken_from(cut_off), "its giving in")
        assert scene.writes() == writes
        assert_one_of_everything(asked)


@pytest.mark.slow
async def test_a_bot_that_is_asked_to_stop_hands_its_run_to_another_one_at_once(
    tmp_path: Path, cluster: Cluster
) -> None:
    # A takeover of what fell silent would come only after the five minutes that are set here.
    config = "takeover_seconds: 300\n"
    async with open_stage(tmp_path, Script(tasks=2), postgresql=cluster.new_database(), config=config) as stage:
        scene = await stage.scene()
        async with AsyncExitStack() as stack:
            bots = [await stack.enter_async_context(stage.bot()) for _ in range(2)]
            stage.models.hold_after(4)
            asked = await scene.command()
            leaving, taker = await the_one_at_work(bots, asked)
            await until(lambda: len(stage.models.journal) == 5, "the fifth question")
            finished, calls = stage.finished_tasks(), len(stage.models.journal)
            # when
            await leaving.stop()
            stage.models.release()
            # then
            await until(lambda: works_on(taker, asked.run_id), "the handing over", 20)
            await asked.reacted("rocket")
            await asked.settled()
            assert leaving.process.returncode == 0
            assert finished.isdisjoint(stage.generated(stage.models.journal[calls:]))
        assert_one_of_everything(asked)
