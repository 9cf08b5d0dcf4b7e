"""What people get wrong, and what strangers may try: each is answered once, where it belongs, and costs nothing."""

from __future__ import annotations

import pytest

from tests.e2e.stage import SPEC, STRANGER, House, Stage
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_broken_spec_becomes_a_comment_and_a_check_run_with_the_line(house: House) -> None:
    scene = await house.scene("version: 1\nbugdet:\n  max_usd: 2\n")
    calls = len(house.stage.models.journal)

    asked = await scene.command()
    await asked.reacted("confused")

    (check,) = scene.hub.check_runs(scene.repository)
    head = (await scene.hub.branches(scene.repository))["main"]
    assert (check["name"], check["conclusion"], check["head_sha"]) == ("orchestrator/spec", "failure", head)
    (note,) = check["annotations"]
    assert (note["path"], note["start_line"], note["annotation_level"]) == (".orchestrator.yaml", 2, "failure")
    assert "budget" in note["message"]
    (comment,) = scene.ours(asked.issue)
    assert "`.orchestrator.yaml:2`" in comment
    assert "budget" in comment
    assert scene.reactions(asked.comment) == ["eyes", "confused"]
    assert (house.calls_since(calls), scene.hub.pull_requests(scene.repository)) == ([], [])


async def test_sec_06_somebody_without_write_access_gets_one_reaction_and_nothing_runs(house: House) -> None:
    scene, calls = await house.scene(), len(house.stage.models.journal)

    asked = await scene.command("/orchestrate", user=STRANGER)
    assert asked.status == 202
    await asked.reacted("confused")
    await asked.settled()

    assert scene.writes() == ["POST /issues/comments/N/reactions"]
    assert scene.reactions(asked.comment) == ["confused"]
    assert house.calls_since(calls) == []
    assert house.stage.rows(f"SELECT id FROM runs WHERE id = '{asked.run_id}'") == []


async def test_an_ordinary_comment_is_ignored_without_a_single_request(house: House) -> None:
    scene = await house.scene()

    asked = await scene.command("Please look at `/orchestrate` when you have time.")
    await asked.settled()

    assert (asked.status, asked.answer) == (200, {"status": "ignored", "reason": "the comment holds no command"})
    assert scene.requests(".*", "/.*") == []


async def test_a_command_that_is_misspelt_is_refused_with_the_nearest_one(house: House) -> None:
    scene, calls = await house.scene(), len(house.stage.models.journal)

    asked = await scene.command("/orchestrate hlep")
    await asked.reacted("confused")

    (comment,) = scene.ours(asked.issue)
    assert "the nearest is `/orchestrate help`" in comment
    assert house.calls_since(calls) == []
    assert scene.hub.pull_requests(scene.repository) == []


@pytest.mark.asyncio(loop_scope="function")
async def test_without_any_key_the_issue_says_which_variable_to_set(stage: Stage) -> None:
    scene = await stage.scene(SPEC)
    async with stage.bot(dict.fromkeys(stage.models.environment(), "")) as bot:
        asked = await scene.command()
        await asked.reacted("confused")
        report = await bot.report(asked.run_id)

    (status,) = scene.ours(asked.issue)
    assert status.startswith("Failed: $0.00 of $8.00")
    assert "OPENAI_API_KEY" in status
    assert "ANTHROPIC_API_KEY" in status
    assert (report["status"], report["outcome"]["code"]) == ("failed", "no_model")
    assert scene.hub.pull_requests(scene.repository) == []
    assert stage.models.journal == []


@pytest.mark.asyncio(loop_scope="function")
async def test_a_key_that_the_vendor_refuses_is_tried_once_and_the_issue_says_so(stage: Stage) -> None:
    scene = await stage.scene(SPEC)
    keys = dict.fromkeys(stage.models.environment(), "")
    wrong = {**keys, "OPENAI_API_KEY": "sk-wrong-wrong-wrong", "OPENAI_BASE_URL": stage.models.base_url("openai")}
    async with stage.bot(wrong) as bot:
        asked = await scene.command()
        await asked.reacted("confused")
        report = await bot.report(asked.run_id)

    assert [(it.status, it.outcome) for it in stage.models.journal] == [(401, "rejected")]
    (status,) = scene.ours(asked.issue)
    assert "openai refused the call to gpt-5-mini: HTTP 401" in status
    assert "Check the key in OPENAI_API_KEY" in status
    assert "sk-wrong-wrong-wrong" not in status
    assert (report["status"], report["outcome"]["code"], report["calls"]) == ("failed", "no_model", [])
    assert report["budget"]["spent_usd"] == 0
    assert stage.reserved() == 0


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.slow
async def test_one_refused_key_among_good_ones_is_passed_over_by_the_next_provider(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene(SPEC)
    others = dict.fromkeys(stage.models.environment(("google", "moonshot")), "")
    async with stage.bot({**others, "DEEPSEEK_API_KEY": "sk-wrong-wrong-wrong"}) as bot:
        asked = await scene.command()
        await asked.reacted("rocket")
        report = await bot.report(asked.run_id)

    refused = [it.status for it in stage.models.journal if it.provider == "deepseek"]
    assert refused == [401]
    assert report["status"] == "completed"
    assert {it["provider"] for it in report["calls"]} == {"openai", "anthropic"}


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.slow
async def test_a_reviewer_whose_key_is_refused_is_not_replaced_by_the_writer_and_the_issue_says_what_to_do(
    stage: Stage,
) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene(SPEC)
    others = dict.fromkeys(stage.models.environment(("anthropic", "google", "moonshot")), "")
    async with stage.bot({**others, "DEEPSEEK_API_KEY": "sk-wrong-wrong-wrong"}):
        asked = await scene.command()
        await asked.reacted("confused")

    (status,) = scene.ours(asked.issue)
    assert "openai, which may not approve its own work while another provider is allowed" in status
    assert "comment `/orchestrate resume`" in status
    assert scene.hub.pull_requests(scene.repository) == []
