"""The bot, killed in the middle of a round and started again, ends it once: one commit, one of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.revising import line_comments, messages, on_line, revisable, said
from tests.e2e.stage import BOT, GOOD_CHECKS, MAINTAINER, Asked, Scene, Stage, until


async def _opened(stage: Stage) -> Asked:
    stage.models.script = revisable()
    scene = await stage.scene()
    async with stage.bot():
        asked = await scene.command()
        await asked.reacted("rocket")
        await asked.settled()
    return asked


async def _killed(stage: Stage, asked: Asked, moment: Callable[[], object], what: str) -> Asked:
    async with stage.bot() as bot:
        round_ = await said(asked, "/orchestrate revise Name the constant.")
        assert round_.status == 202
        await until(moment, what)
        await bot.kill()
    assert "queued" in stage.delivery_states()
    return round_


async def _assert_it_ends_once(stage: Stage, asked: Asked, round_: Asked) -> None:
    scene: Scene = asked.scene
    async with stage.bot() as bot:
        await round_.reacted("rocket")
        await round_.settled()
        assert (await bot.report(round_.run_id))["status"] == "completed"

    pull = asked.pull
    _, mended = await messages(asked)
    assert f"Orchestrator-Round: {round_.run_id}" in mended
    heads = await scene.hub.branches(scene.repository)
    assert heads == {"main": pull["base"]["sha"], pull["head"]["ref"]: pull["head"]["sha"]}
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    assert len(scene.hub.check_runs(scene.repository)) == 8
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{pull['number']} · 1/1 tasks · ")
    assert status.endswith(f"<!-- orchestrator:status run={asked.run_id} -->")
    (report,) = scene.ours(pull["number"])
    assert report.endswith(f"<!-- orchestrator:report run={asked.run_id} -->")
    assert sorted(scene.reactions(round_.comment)) == ["eyes", "rocket"]
    assert len([it for it in await line_comments(asked) if it["user"]["login"] == BOT]) == 1
    assert stage.reserved() == 0


@pytest.mark.slow
@pytest.mark.parametrize("answers", [1, 3])
async def test_a_bot_killed_while_a_rounds_models_answer_goes_on_with_what_was_open_when_it_began(
    stage: Stage, answers: int
) -> None:
    asked = await _opened(stage)
    await on_line(asked, MAINTAINER, "Say what it adds.")
    before = len(stage.models.journal)
    stage.models.hold_after(answers)

    round_ = await _killed(stage, asked, lambda: len(stage.models.journal) == before + answers + 1, "the question")
    stage.models.release()
    await asyncio.to_thread(stage.models.wait_for_end_of, before + answers)
    # What is open changes meanwhile: the round answers what was open when it began.
    await on_line(asked, MAINTAINER, "And this.", line=5)
    await _assert_it_ends_once(stage, asked, round_)

    calls = stage.models.journal[before:]
    assert [it.purpose for it in calls].count("architecture") == 1
    assert len({it.prompt for it in calls if it.purpose == "decompose"}) == 1
    assert not any("And this." in it.prompt for it in calls)
