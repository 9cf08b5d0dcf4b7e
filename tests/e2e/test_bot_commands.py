"""Commands about a run that exists, through the public surface: approved, cancelled midway, taken up, one of all."""

from __future__ import annotations

import pytest

from tests.e2e.stage import GOOD_CHECKS, MAINTAINER, STRANGER, Asked, House, Stage, until
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = "version: 1\nvalidation:\n  validators: [python_syntax]\n  commands: ['true']\n"


async def _said(asked: Asked, text: str, user: str = MAINTAINER) -> Asked:
    """Comment again on a command's issue, and return the bot's answer."""
    return await asked.scene.answered(asked.issue, asked.scene.comment(asked.issue, text, user))


async def _asked(house: House, count: int) -> None:
    await until(lambda: len(house.stage.models.journal) == count, f"question {count}")


@pytest.mark.slow
async def test_plan_approve_cancel_midway_and_resume_leave_one_branch_one_pull_request_and_one_status_comment(
    house: House,
) -> None:
    scene, before = await house.scene(script=Script(tasks=2)), len(house.stage.models.journal)
    plan = await scene.command("/orchestrate plan")
    await plan.reacted("rocket")
    (shown,) = scene.ours(plan.issue)
    assert "Nothing was built. To build it, comment `/orchestrate approve`." in shown

    # Approved, it asks nothing again, and begins with the first task; the models fall silent at the second.
    house.stage.models.hold_after(2)
    approve = await _said(plan, "/orchestrate approve")
    again = await _said(plan, "/orchestrate approve")
    await _asked(house, before + 5)
    assert [it.purpose for it in house.calls_since(before + 2)] == ["generate", "review", "generate"]

    # Cancelled, it asks no more, and what was built is there.
    cancel = await _said(plan, "/orchestrate cancel")
    await cancel.reacted("rocket")
    house.stage.models.release()
    await approve.reacted("confused")
    await again.reacted("confused")
    assert len(house.stage.models.journal) == before + 5
    assert (await house.bot.report(plan.run_id))["status"] == "cancelled"
    (status,) = scene.ours(plan.issue)
    first = status.splitlines()[0]
    assert first.startswith(f"Cancelled by maria: #{plan.pull['number']} · 1/2 tasks · $0.0")
    assert first.endswith("Left undone: `part-2`. To go on, comment `/orchestrate resume`.")
    assert (plan.pull["draft"], f"Part of #{plan.issue}" in plan.pull["body"]) == (True, True)
    assert "cancelled" in scene.checks(plan.pull["head"]["sha"]).values()

    # Resumed from the pull request, it builds what is missing, and nothing else.
    number = plan.pull["number"]
    resume = await scene.answered(number, scene.comment(number, "/orchestrate resume --budget 3"))
    await resume.reacted("rocket")
    await resume.settled()
    assert house.stage.generated(house.calls_since(before + 5)) == ["part-2"]
    assert (await house.bot.report(plan.run_id))["budget"]["max_usd"] == 3.0
    for one in (plan, approve, again, cancel, resume):
        assert (one.status, one.answer) == (202, {"status": "queued", "run_id": plan.run_id})
    pull = plan.pull
    assert f"Closes #{plan.issue}" in pull["body"]
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    assert sorted(await scene.hub.branches(scene.repository)) == ["main", f"orchestrator/{plan.issue}-sample-library"]
    (status,) = scene.ours(plan.issue)
    assert status.startswith(f"Done: #{number} · 2/2 tasks · ")
    (report,) = scene.ours(number)
    assert report.endswith(f"<!-- orchestrator:report run={plan.run_id} -->")
    assert house.stage.reserved() == 0


async def test_sec_16_a_plan_whose_spec_has_changed_is_planned_and_asked_for_again(house: House) -> None:
    spec = f"{SPEC}github:\n  require_approval_above_usd: 0.000001\n"
    scene, before = await house.scene(spec, Script(tasks=1)), len(house.stage.models.journal)
    asked = await scene.command()
    await asked.reacted("confused")
    base = await scene.hub.commit(scene.repository, {".orchestrator.yaml": f"{spec}  labels: [later]\n"})

    stranger = await _said(asked, "/orchestrate approve", STRANGER)
    await stranger.reacted("confused")
    stale = await _said(asked, "/orchestrate approve")
    await stale.reacted("confused")

    assert scene.hub.pull_requests(scene.repository) == []
    assert {it.purpose for it in house.calls_since(before)} == {"architecture", "decompose"}
    (status,) = scene.ours(asked.issue)
    assert status.startswith("Plan: 1 tasks · forecast $")

    fresh = await _said(asked, "/orchestrate approve")
    await fresh.reacted("rocket")

    assert asked.pull["base"]["sha"] == base
    assert GOOD_CHECKS.items() <= scene.checks().items()  # the changed spec gets a check of its own beside them
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{asked.pull['number']} · 1/1 tasks · ")


async def test_a_command_about_a_run_that_is_not_there_or_has_ended_is_refused_with_a_sentence(house: House) -> None:
    scene = await house.scene()
    nothing = await scene.command("/orchestrate resume")
    await nothing.reacted("confused")
    asked = await scene.command()
    await asked.reacted("rocket")
    for text in ("cancel", "resume", "approve"):
        await (await _said(asked, f"/orchestrate {text}")).reacted("confused")

    (answer,) = scene.ours(nothing.issue)
    assert answer.startswith("Not resumed: there is no run for this issue yet. To start one, comment `/orchestrate`.")
    status, *refused = scene.ours(asked.issue)
    assert status.startswith("Done: ")
    assert [it.partition(".")[0] for it in refused] == [
        "Nothing to cancel: the run has ended already (done)",
        "Not resumed: the run is completed, and nothing is left to do",
        "Not approved: the run has ended already (done)",
    ]


async def test_a_plan_that_waits_is_cancelled_though_nobody_works_on_it(house: House) -> None:
    scene = await house.scene()
    plan = await scene.command("/orchestrate plan")
    await plan.reacted("rocket")
    await (await _said(plan, "/orchestrate cancel")).reacted("rocket")

    (status,) = scene.ours(plan.issue)
    assert status.startswith("Cancelled by maria: 0/1 tasks · $0.0")
    assert (await house.bot.report(plan.run_id))["status"] == "cancelled"
    assert scene.hub.pull_requests(scene.repository) == []


@pytest.mark.asyncio(loop_scope="function")
async def test_sec_12_the_operators_kill_switch_stops_a_run_before_its_next_call(stage: Stage) -> None:
    stage.models.script = Script(tasks=2)
    config = stage.folder / "operator.yaml"
    config.write_text("enabled: true\n")
    scene = await stage.scene()
    async with stage.bot({"ORCHESTRATOR_CONFIG": str(config)}) as bot:
        stage.models.hold_after(3)
        asked = await scene.command()
        await until(lambda: len(stage.models.journal) == 4, "the fourth question")
        config.write_text("enabled: false\n")
        await asked.reacted("confused")
        stage.models.release()

        assert (await bot.report(asked.run_id))["status"] == "cancelled"
        assert len(stage.models.journal) == 4
        (status,) = scene.ours(asked.issue)
        assert status.startswith("Stopped by the operator, who has switched the orchestrator off (`enabled: false`): ")
        refused = await _said(asked, "/orchestrate resume")
        await refused.reacted("confused")
        assert len(stage.models.journal) == 4

        config.write_text("enabled: true\n")
        resumed = await _said(asked, "/orchestrate resume")
        await resumed.reacted("rocket")
    assert stage.generated(stage.models.journal[4:])[-1] == "part-2"
