"""What else sets the bot to work, through the public surface: reviews, buttons and re-runs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.deliveries import answers_about
from tests.e2e.revising import PART, job_of, messages, revisable, said
from tests.e2e.stage import CHECKS, GOOD_CHECKS, MAINTAINER, STRANGER, House, Scene, until
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _api(scene: Scene, method: str, path: str, body: dict[str, Any] | None = None, user: str = MAINTAINER) -> Any:
    """Return the answer to a request that somebody makes about the repository."""
    headers = {"Authorization": f"Bearer {scene.hub.token_for(user)}"}
    async with httpx.AsyncClient(base_url=scene.hub.api_url, trust_env=False, timeout=30, headers=headers) as client:
        answer = await client.request(method, f"/repos/{scene.repository}{path}", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def test_a_review_and_a_comment_on_a_line_that_begin_with_the_command_are_aliases_and_discussion_is_not(
    house: House,
) -> None:
    scene = await house.scene()
    asked = await scene.command()
    await asked.reacted("rocket")
    number, head = asked.pull["number"], asked.pull["head"]["sha"]
    path = next(it["filename"] for it in await _api(scene, "GET", f"/pulls/{number}/files") if it["additions"])
    review: dict[str, Any] = {"event": "COMMENT"}
    line = {"path": path, "line": 1, "commit_id": head}

    for text in ("@orchestrator /orchestrate status", "I think that\n/orchestrate status", "Well done."):
        await _api(scene, "POST", f"/pulls/{number}/reviews", review | {"body": text})
    comments = [
        await _api(scene, "POST", f"/pulls/{number}/comments", line | {"body": text})
        for text in ("/orchestrate status", "Why not `/orchestrate status`?")
    ]
    answers = await answers_about(scene, "pull_request_review")
    lines = await answers_about(scene, "pull_request_review_comment")
    await asked.settled()

    queued = (202, {"status": "queued", "run_id": asked.run_id})
    ignored = (200, {"status": "ignored", "reason": "the comment holds no command"})
    assert answers == [queued, ignored, ignored]
    assert lines == [queued, ignored]
    report, *told = scene.ours(number)
    assert "## Budget" in report
    assert [it.partition(": ")[0] for it in told] == ["Done", "Done"]
    reactions = [await _api(scene, "GET", f"/pulls/comments/{it['id']}/reactions") for it in comments]
    assert [[it["content"] for it in one] for one in reactions] == [["eyes", "rocket"], []]
    assert len(house.stage.rows(f"SELECT id FROM runs WHERE source = '{scene.repository}'")) == 1


async def test_the_label_is_the_command_run_and_the_apps_name_may_stand_before_a_command(house: House) -> None:
    scene = await house.scene()
    issue = scene.issue()
    for label in ("bug", "orchestrate"):
        await _api(scene, "POST", f"/issues/{issue}/labels", {"labels": [label]})
    answers = await answers_about(scene, "issues")
    (run_id,) = (it["run_id"] for status, it in answers if (status, it["status"]) == (202, "queued"))
    status = await scene.answered(issue, scene.comment(issue, "@orchestrator /orchestrate status"))
    await status.reacted("rocket")
    await status.settled()

    assert (200, {"status": "ignored", "reason": "only the label orchestrate counts"}) in answers
    assert status.answer == {"status": "queued", "run_id": run_id}
    assert (await house.bot.report(run_id))["status"] == "completed"
    assert f"Closes #{issue}" in status.pull["body"]
    assert scene.checks() == GOOD_CHECKS
    reactions = await _api(scene, "GET", f"/issues/{issue}/reactions")
    assert [it["content"] for it in reactions] == ["eyes", "rocket"]


@pytest.mark.slow
async def test_a_second_run_is_refused_while_a_plan_waits_and_while_its_pull_request_is_open(house: House) -> None:
    scene = await house.scene()
    plan = await scene.command("/orchestrate plan")
    await plan.reacted("rocket")
    issue = plan.issue

    beside = await scene.answered(issue, scene.comment(issue, "/orchestrate --force"))
    await beside.reacted("confused")
    (status, refused) = scene.hub.comments(scene.repository, issue)[1::2]
    assert refused["body"].startswith(f"Not started: a plan of this issue waits ({status['html_url']}). Comment ")
    assert "`/orchestrate revise`" in refused["body"]

    await (await scene.answered(issue, scene.comment(issue, "/orchestrate approve"))).reacted("rocket")
    calls = len(house.stage.models.journal)
    await (await scene.answered(issue, scene.comment(issue, "/orchestrate --force"))).reacted("confused")

    assert scene.ours(issue)[-1].startswith(
        f"Not started: a pull request for this issue is open: {plan.pull['html_url']}. "
    )
    assert house.calls_since(calls) == []
    assert len(house.stage.rows(f"SELECT id FROM runs WHERE source = '{scene.repository}'")) == 1


def _press(scene: Scene, check: int, identifier: str, user: str = MAINTAINER) -> None:
    """Press a button of a check run as somebody would on its page."""
    repo, account = scene.hub.repository(scene.repository), scene.hub.create_user(user)
    action = {"identifier": identifier}
    scene.hub.world.check_run_event(repo, account, repo.check_runs[check], "requested_action", requested_action=action)


def _buttons(scene: Scene) -> dict[str, list[str]]:
    """Return the buttons of every check run that has any."""
    checks = scene.hub.check_runs(scene.repository)
    return {it["name"]: [one["identifier"] for one in it["actions"]] for it in checks if it["actions"]}


async def _concluded(scene: Scene) -> None:
    """Wait until every check run has a conclusion, and none that was asked for again is still to be written."""
    suites = scene.hub.repository(scene.repository).check_suites

    def concluded() -> bool:
        ended = all(it["status"] == "completed" for it in scene.hub.check_runs(scene.repository))
        return ended and not any(it.waits for it in suites.values())

    await until(concluded, "every conclusion")


@pytest.mark.slow
async def test_what_is_run_again_is_concluded_again_by_the_validators_alone_whoever_pressed(house: House) -> None:
    scene = await house.scene()
    asked = await scene.command()
    await asked.reacted("rocket")
    head, calls = asked.pull["head"]["sha"], len(house.stage.models.journal)
    said = len(scene.ours(asked.pull["number"]))
    ids = {it["name"]: it["id"] for it in scene.hub.check_runs(scene.repository, head)}
    queued = (202, {"status": "queued", "run_id": asked.run_id})

    for _ in range(5):
        scene.hub.rerequest_check_run(scene.repository, ids["orchestrator/validation"], user=MAINTAINER)
    answers = await answers_about(scene, "check_run")
    await asked.settled()
    assert sorted(it["status"] for _, it in answers if it["status"] != "ignored") == ["duplicate"] * 4 + ["queued"]
    assert queued in answers
    assert scene.checks(head) == GOOD_CHECKS

    await scene.hub.rerequest_check_suite(scene.repository, head, house.stage.app_id, user=MAINTAINER)
    assert await answers_about(scene, "check_suite") == [queued]
    await _concluded(scene)
    scene.hub.rerequest_check_run(scene.repository, ids["orchestrator/review"], user=STRANGER)
    await _concluded(scene)
    await asked.settled()

    assert scene.checks(head) == GOOD_CHECKS
    assert {it["name"]: it["id"] for it in scene.hub.check_runs(scene.repository, head)} == ids
    assert len(scene.ours(asked.pull["number"])) == said
    assert house.calls_since(calls) == []


async def test_retry_failed_and_run_again_go_on_with_a_run_that_stopped_as_resume_does(house: House) -> None:
    scene, before = await house.scene(script=Script(tasks=3)), len(house.stage.models.journal)
    house.stage.models.hold_after(4)
    asked = await scene.command()
    await until(lambda: len(house.stage.models.journal) == before + 5, "the fifth question")
    await (await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate cancel"))).reacted("rocket")
    house.stage.models.release()
    await asked.settled()
    number, calls = asked.pull["number"], len(house.stage.models.journal)
    failed = {it["name"]: it["id"] for it in scene.hub.check_runs(scene.repository) if it["conclusion"] != "success"}
    check = failed["orchestrator/architecture"]
    buttons = _buttons(scene)
    assert buttons == {name: ["retry_failed"] for name in CHECKS}

    _press(scene, check, "retry_failed", STRANGER)
    _press(scene, check, "merge_it")
    await answers_about(scene, "check_run")
    await asked.settled()
    assert house.calls_since(calls) == []
    scene.hub.rerequest_check_run(scene.repository, check, user=STRANGER)
    await _concluded(scene)
    await asked.settled()
    assert _buttons(scene) == buttons
    _press(scene, check, "retry_failed")
    answers = await answers_about(scene, "check_run")
    await asked.settled()

    assert answers.count((202, {"status": "queued", "run_id": asked.run_id})) == 3
    assert (200, {"status": "ignored", "reason": "there is no button 'merge_it'"}) in answers
    assert (await house.bot.report(asked.run_id))["status"] == "completed"
    assert scene.checks(asked.pull["head"]["sha"]) == GOOD_CHECKS
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{number} · 3/3 tasks · ")


@pytest.mark.slow
async def test_revise_findings_is_the_command_revise_with_what_the_check_found(house: House) -> None:
    scene = await house.scene(script=revisable())
    asked = await scene.command()
    await asked.reacted("rocket")
    number, first, calls = asked.pull["number"], asked.pull["head"]["sha"], len(house.stage.models.journal)
    check = next(it["id"] for it in scene.hub.check_runs(scene.repository) if it["name"] == "orchestrator/review")

    _press(scene, check, "revise_findings", STRANGER)
    await answers_about(scene, "check_run")
    await asked.settled()
    assert (house.calls_since(calls), len(scene.ours(number))) == ([], 1)
    _press(scene, check, "revise_findings")
    answers = await answers_about(scene, "check_run")
    await asked.settled()

    pressed = [it for status, it in answers if status == 202]
    assert [it["status"] for it in pressed] == ["queued", "queued"]
    round_ = pressed[1]["run_id"]
    assert asked.run_id not in [it["run_id"] for it in pressed]
    plan = next(it for it in house.calls_since(calls) if it.purpose == "decompose")
    assert "Description:\nFix what the check orchestrator/review found: 1 of 1 tasks approved\n" in job_of(plan.prompt)
    assert (await house.bot.report(round_))["status"] == "completed"
    _, mended = await messages(asked)
    assert f"\nOrchestrator-Run: {asked.run_id}\nOrchestrator-Round: {round_}\n" in mended
    files = await scene.hub.files(scene.repository, asked.pull["head"]["ref"])
    assert b"ROUND = " in files[PART]
    assert scene.checks(first) == scene.checks(asked.pull["head"]["sha"]) == GOOD_CHECKS
    assert len(scene.ours(number)) == 1


@pytest.mark.slow
async def test_a_button_and_a_re_run_on_the_head_of_a_round_are_about_that_round(house: House) -> None:
    # Given a round that was cancelled when the first of its two tasks was written
    scene, models = await house.scene(script=revisable(parts=2)), house.stage.models
    asked = await scene.command()
    await asked.reacted("rocket")
    before = len(models.journal)
    models.hold_after(4)
    round_ = await said(asked, "/orchestrate revise Name the constants.")
    await until(lambda: len(models.journal) == before + 5, "the second task's question")
    await (await said(asked, "/orchestrate cancel")).reacted("rocket")
    models.release()
    await asked.settled()
    head = asked.pull["head"]["sha"]
    ids = {it["name"]: it["id"] for it in scene.hub.check_runs(scene.repository, head)}
    stopped, calls = scene.checks(head), len(models.journal)
    assert "cancelled" in stopped.values()

    # When a stranger has a check run again, it is concluded as that round ended, not as the run did
    scene.hub.rerequest_check_run(scene.repository, ids["orchestrator/architecture"], user=STRANGER)
    await _concluded(scene)
    await asked.settled()
    assert (scene.checks(head), house.calls_since(calls)) == (stopped, [])

    # and when a maintainer presses, that round goes on
    _press(scene, ids["orchestrator/architecture"], "retry_failed")
    answers = await answers_about(scene, "check_run")
    await asked.settled()
    assert answers[-1] == (202, {"status": "queued", "run_id": round_.run_id})
    assert (await house.bot.report(round_.run_id))["status"] == "completed"
    new = asked.pull["head"]["sha"]
    assert scene.checks(new) == GOOD_CHECKS
    assert sorted(scene.checks(head)) == CHECKS
    await _concluded(scene)

    # and what is completed is validated again by the round's own validators.
    calls = len(models.journal)
    await scene.hub.rerequest_check_suite(scene.repository, new, house.stage.app_id, user=MAINTAINER)
    await _concluded(scene)
    await asked.settled()
    assert (scene.checks(new), house.calls_since(calls)) == (GOOD_CHECKS, [])
