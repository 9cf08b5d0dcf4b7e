"""The bot, killed while it goes on with a run or ends one, and started again, ends as if nothing had happened."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.e2e.revising import messages, revisable, said
from tests.e2e.stage import GOOD_CHECKS, Asked, Stage, until
from tests.loopback import Script

pytestmark = pytest.mark.slow

_ALWAYS = [("POST", r"/git/commits$"), ("POST", r"/check-runs$"), ("PATCH", r"/issues/comments/\d+$")]
GOING_ON = [*_ALWAYS, ("PATCH", r"/git/refs/.*$"), ("PATCH", r"/pulls/\d+$")]
KINDS: list[Literal["drop_before", "drop_after"]] = ["drop_before", "drop_after"]


async def _killed(
    stage: Stage, issue: Asked, text: str, kind: Literal["drop_before", "drop_after"], method: str, path: str
) -> Asked:
    """Give a command to a bot, and kill it when GitHub drops the first write of this kind."""
    dropped = issue.scene.hub.faults.add(method=method, path_regex=path, kind=kind)
    async with stage.bot() as bot:
        asked = await issue.scene.answered(issue.issue, issue.scene.comment(issue.issue, text))
        await until(lambda: dropped.hits, f"{method} {path}")
        await bot.kill()
    assert "queued" in stage.delivery_states()
    return asked


async def _assert_one_of_everything(stage: Stage, run: Asked, asked: Asked, ended: str = "rocket") -> None:
    """Start the bot again, and look at everything that could be there twice or left open."""
    scene = run.scene
    async with stage.bot():
        await asked.reacted(ended)
        await asked.settled()
    pull = run.pull
    heads = await scene.hub.branches(scene.repository)
    assert heads == {"main": pull["base"]["sha"], pull["head"]["ref"]: pull["head"]["sha"]}
    assert all(it["status"] == "completed" for it in scene.hub.check_runs(scene.repository))
    assert len(scene.checks(pull["head"]["sha"])) == 4
    (status,) = scene.ours(run.issue)
    assert status.endswith(f"<!-- orchestrator:status run={run.run_id} -->")
    (report,) = scene.ours(pull["number"])
    assert report.endswith(f"<!-- orchestrator:report run={run.run_id} -->")
    assert scene.reactions(asked.comment) == ["eyes", ended]
    assert stage.reserved() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "path"), GOING_ON)
async def test_a_bot_killed_while_it_resumes_a_run_resumes_it_once(
    stage: Stage, method: str, path: str, kind: Literal["drop_before", "drop_after"]
) -> None:
    stage.models.script = Script(tasks=2)
    scene = await stage.scene()
    async with stage.bot():
        stage.models.hold_after(4)
        run = await scene.command()
        await until(lambda: len(stage.models.journal) == 5, "the second task's question")
        cancel = await scene.answered(run.issue, scene.comment(run.issue, "/orchestrate cancel"))
        await cancel.reacted("rocket")
        stage.models.release()
        await run.settled()
    before = len(stage.models.journal)

    resume = await _killed(stage, run, "/orchestrate resume", kind, method, path)
    await _assert_one_of_everything(stage, run, resume)

    assert scene.checks(run.pull["head"]["sha"]) == GOOD_CHECKS
    assert stage.generated(stage.models.journal[before:]) == ["part-2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "path"), GOING_ON)
async def test_a_bot_killed_while_it_delivers_a_cancelled_round_delivers_it_once(
    stage: Stage, method: str, path: str, kind: Literal["drop_before", "drop_after"]
) -> None:
    # Given a round of two tasks, cancelled when the first is written
    stage.models.script = revisable(parts=2)
    scene = await stage.scene()
    async with stage.bot() as bot:
        run = await scene.command()
        await run.reacted("rocket")
        await run.settled()
        first, before = run.pull["head"]["sha"], len(stage.models.journal)
        stage.models.hold_after(4)
        round_ = await said(run, "/orchestrate revise Name the constants.")
        await until(lambda: len(stage.models.journal) == before + 5, "the second task's question")
        dropped = scene.hub.faults.add(method=method, path_regex=path, kind=kind)
        cancel = await said(run, "/orchestrate cancel")

        # When the bot is killed at a write of its delivery
        await until(lambda: dropped.hits, f"{method} {path}")
        await bot.kill()
    stage.models.release()

    # Then what was built is on the branch, once
    await _assert_one_of_everything(stage, run, round_, "confused")
    assert scene.reactions(cancel.comment) == ["eyes", "rocket"]
    _, mended = await messages(run)
    assert f"Orchestrator-Round: {round_.run_id}" in mended
    assert scene.checks(first) == GOOD_CHECKS
    assert "cancelled" in scene.checks(run.pull["head"]["sha"]).values()
