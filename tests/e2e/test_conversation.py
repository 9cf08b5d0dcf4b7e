"""One conversation on one issue, from its plan to a second revise, and a fork's review: it leaves one of everything."""

from __future__ import annotations

import pytest

from tests.e2e.conversing import FORKED, conversable, plan_approve_cancel_and_resume, reviewed, revised_twice
from tests.e2e.revising import api, messages
from tests.e2e.stage import BOT, CHECKS, GOOD_CHECKS, MAINTAINER, STRANGER, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_whole_conversation_on_one_issue_leaves_one_of_everything(house: House) -> None:
    scene = await house.scene(script=conversable())

    # Given a plan, its approval, a cancel midway and a resume; then two rounds; then a review of a fork's pull request
    begun = await plan_approve_cancel_and_resume(scene)
    plan, approve, cancel, resume = begun.said
    issue, number = plan.issue, begun.number
    rounds = await revised_twice(plan)
    commits = await messages(plan)
    fork = await reviewed(scene)

    # Then there is one branch, with each commit once, and one pull request of ours
    heads = [*begun.heads, *rounds.heads]
    branches = await scene.hub.branches(scene.repository)
    assert sorted(branches) == ["main", f"orchestrator/{issue}-sample-library"]
    assert branches[f"orchestrator/{issue}-sample-library"] == heads[-1]
    assert len(set(heads)) == 4
    trailers = [
        [line for line in text.rstrip().split("\n\n")[-1].splitlines() if line.startswith("Orchestrator-")]
        for text in commits
    ]
    own = f"Orchestrator-Run: {plan.run_id}"
    assert trailers[-2:] == [[own, f"Orchestrator-Round: {it.run_id}"] for it in rounds.said]
    assert trailers[:-2] == [[own]] * len(trailers[:-2])
    listed = scene.hub.pull_requests(scene.repository)
    assert [(it["number"], it["user"]["login"]) for it in listed] == [(number, BOT), (fork.number, STRANGER)]
    assert (f"Closes #{issue}" in listed[0]["body"], listed[0]["state"]) == (True, "open")

    # and one status comment, one report, one answer about the fork
    (status,) = scene.ours(issue)
    assert status.startswith(f"Done: #{number} · ")
    assert status.endswith(f"<!-- orchestrator:status run={plan.run_id} -->")
    (report,) = scene.ours(number)
    assert report.endswith(f"<!-- orchestrator:report run={plan.run_id} -->")
    (told,) = scene.ours(fork.number)
    assert told.startswith("Reviewed: ")

    # and each command has its two reactions
    said = [*begun.said, *rounds.said, *fork.said]
    assert [scene.reactions(it.comment) for it in said] == [
        ["eyes", "confused" if it is approve else "rocket"] for it in said
    ]
    assert {it.run_id for it in (plan, approve, cancel, resume)} == {plan.run_id}

    # and four concluded checks on each head, of which the first was never finished
    checks = [scene.checks(head) for head in heads]
    assert checks == [dict.fromkeys(CHECKS, "cancelled"), GOOD_CHECKS, GOOD_CHECKS, GOOD_CHECKS]
    assert scene.checks(fork.heads[0]) == {"orchestrator/review": "failure"}
    assert len(scene.hub.check_runs(scene.repository)) == 17

    # and one answer on the thread, and one remark on the fork's line
    lines = {
        it: await api(scene, MAINTAINER, "GET", f"/pulls/{it}/comments", {}) for it in (number, fork.number)
    }  # fmt: skip
    assert [it["user"]["login"] for it in lines[number]] == [MAINTAINER, BOT]
    assert [(it["user"]["login"], it["path"]) for it in lines[fork.number]] == [(BOT, FORKED)]

    # and nobody spent above a cap, or holds money still
    for run in (plan, *rounds.said, *fork.said):
        budget = (await house.bot.report(run.run_id))["budget"]
        assert 0 < budget["spent_usd"] <= budget["max_usd"]
    assert house.stage.reserved() == 0
