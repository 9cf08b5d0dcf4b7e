"""What ends runs without a command, through the public surface: something closed, switched off, taken away or moved."""

from __future__ import annotations

import pytest

from tests.e2e.deliveries import answers_about
from tests.e2e.stage import GOOD_CHECKS, MAINTAINER, STRANGER, Asked, House, Scene, Stage, until
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _works(house: House, questions: int) -> tuple[Scene, Asked]:
    """Return a run of three tasks whose models fall silent at a question, once they were asked it."""
    scene, before = await house.scene(script=Script(tasks=3)), len(house.stage.models.journal)
    house.stage.models.hold_after(questions - 1)
    asked = await scene.command()
    await until(lambda: len(house.stage.models.journal) == before + questions, f"question {questions}")
    return scene, asked


async def _status_of(house: House, run_id: str, status: str) -> None:
    await until(
        lambda: house.stage.rows(f"SELECT 1 FROM runs WHERE id = '{run_id}' AND status = '{status}'"), f"run {status}"
    )


async def test_closing_the_issue_cancels_its_run_or_its_plan_and_the_status_says_who(house: House) -> None:
    scene, asked = await _works(house, 5)
    calls = len(house.stage.models.journal)
    scene.hub.close_issue(scene.repository, asked.issue, user=STRANGER)
    await asked.reacted("confused")
    house.stage.models.release()
    await asked.settled()
    planned = await scene.command("/orchestrate plan")
    await planned.reacted("rocket")
    planning = len(house.stage.models.journal)
    scene.hub.close_issue(scene.repository, planned.issue, user=MAINTAINER)
    await _status_of(house, planned.run_id, "cancelled")
    await asked.settled()

    (status,), (plan,) = scene.ours(asked.issue), scene.ours(planned.issue)
    assert status.startswith("Cancelled by stranger, who closed the issue: ")
    assert plan.startswith("Cancelled by maria, who closed the issue: 0/3 tasks")
    assert (await house.bot.report(asked.run_id))["status"] == "cancelled"
    assert (len(house.stage.models.journal), house.calls_since(planning)) == (planning, [])
    assert len(house.calls_since(calls)) == planning - calls
    answers = [it for it in await answers_about(scene, "issues") if "ends or moves" in it[1].get("reason", "")]
    assert len(answers) == 2


@pytest.mark.slow
async def test_closing_the_pull_request_cancels_the_run_that_goes_on_at_it(house: House) -> None:
    scene, asked = await _works(house, 5)
    await (await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate cancel"))).reacted("rocket")
    house.stage.models.release()
    await asked.settled()
    head, before = asked.pull["head"]["sha"], len(house.stage.models.journal)
    house.stage.models.hold_after(1)
    resumed = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate resume"))
    await until(lambda: len(house.stage.models.journal) == before + 2, "the second question")

    scene.hub.close_issue(scene.repository, asked.pull["number"], user=MAINTAINER)
    await resumed.reacted("confused")
    house.stage.models.release()
    await asked.settled()

    (status,) = scene.ours(asked.issue)
    assert status.startswith("Cancelled by maria, who closed the pull request: ")
    assert (asked.pull["state"], asked.pull["head"]["sha"]) == ("closed", head)
    assert len(house.stage.models.journal) == before + 2


@pytest.mark.slow
async def test_sec_12_enabled_false_on_the_default_branch_stops_the_repositorys_runs_before_their_next_call(
    house: House,
) -> None:
    scene, asked = await _works(house, 5)
    calls = len(house.stage.models.journal)
    await scene.hub.commit(scene.repository, {".orchestrator.yaml": "enabled: false\n"}, user=MAINTAINER)
    await asked.reacted("confused")
    house.stage.models.release()
    await asked.settled()
    refused = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate resume"))
    await refused.reacted("confused")

    assert house.calls_since(calls) == []
    status, said = scene.ours(asked.issue)
    assert status.startswith("Cancelled by maria, who set `enabled: false`: ")
    assert "the orchestrator is switched off (`enabled: false`)" in said

    await scene.hub.commit(scene.repository, {".orchestrator.yaml": "enabled: true\n"}, user=MAINTAINER)
    resumed = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate resume"))
    await resumed.reacted("rocket")


@pytest.mark.slow
async def test_a_repository_under_another_name_keeps_its_runs(house: House) -> None:
    scene = await house.scene()
    plan = await scene.command("/orchestrate plan")
    await plan.reacted("rocket")

    scene.repository = scene.hub.rename_repository(scene.repository, "moved-demo", user=MAINTAINER)
    await answers_about(scene, "repository")
    await plan.settled()
    approve = await scene.answered(plan.issue, scene.comment(plan.issue, "/orchestrate approve"))
    await approve.reacted("rocket")

    assert approve.run_id == plan.run_id
    assert scene.checks(plan.pull["head"]["sha"]) == GOOD_CHECKS
    (status,) = scene.ours(plan.issue)
    assert status.startswith(f"Done: #{plan.pull['number']} · 1/1 tasks · ")


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="function")
async def test_sec_32_and_35_suspending_or_uninstalling_cancels_and_uninstalling_forgets(stage: Stage) -> None:
    scene = await stage.scene()
    kept = "SELECT COUNT(*) FROM calls WHERE answer IS NOT NULL"
    learned = "SELECT COUNT(*) FROM observations WHERE scope = 'octo'"
    async with stage.bot() as bot:
        house = House(stage, bot)
        stage.models.script = Script(tasks=1)
        (installation,) = stage.hub.state.installations
        done = await scene.command()
        await done.reacted("rocket")
        plan = await scene.command("/orchestrate plan")
        await plan.reacted("rocket")

        stage.hub.suspend_installation(installation)
        await _status_of(house, plan.run_id, "cancelled")
        await plan.settled()
        assert min(stage.rows(kept)[0][0], stage.rows(learned)[0][0]) > 0
        stage.hub.state.installations[installation].suspended_at = None
        again = await scene.answered(plan.issue, scene.comment(plan.issue, "/orchestrate resume"))
        await again.reacted("rocket")

        stage.hub.uninstall_app(installation)
        await until(lambda: stage.rows(kept)[0][0] == 0, "the answers to go")
        await plan.settled()
        assert stage.rows(learned) == [(0,)]
        assert (await bot.report(done.run_id))["budget"]["spent_usd"] > 0
