"""The repository's own CI is held back on what models wrote until a person with write access lets it run."""

from __future__ import annotations

import json

import pytest

from tests.e2e.revising import messages, opened, said
from tests.e2e.stage import GOOD_CHECKS, STRANGER, House

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = "skip-checks: true"


async def test_sec_27_ci_runs_on_a_person_s_word_on_an_empty_commit_that_our_checks_are_carried_over_to(
    house: House,
) -> None:
    asked = await opened(house)
    scene, before = asked.scene, asked.pull
    (built,) = await messages(asked)
    assert built.rstrip().endswith(HELD)  # pyproject.toml is what CI executes
    assert "The repository's own CI was not started" in before["body"]
    (then_report,) = scene.ours(before["number"])
    (held,) = (
        line for line in then_report.splitlines() if line.startswith("- The repository's own CI was not started")
    )

    stranger = await said(asked, "/orchestrate ci", STRANGER)
    await stranger.reacted("confused")
    assert asked.pull["head"]["sha"] == before["head"]["sha"]
    word = await said(asked, "/orchestrate ci")
    await word.reacted("rocket")

    # The same files without the trailer, verified, and everything that we said of them.
    after = asked.pull
    branch, head = after["head"]["ref"], after["head"]["sha"]
    assert (word.status, word.answer["status"]) == (200, "ignored")
    assert head != before["head"]["sha"]
    assert HELD not in (await messages(asked))[1]
    assert await scene.hub.files(scene.repository, branch) == await scene.hub.files(
        scene.repository, before["head"]["sha"]
    )
    assert scene.checks(head) == GOOD_CHECKS
    then, now = (
        {
            it["name"]: (it["output"]["title"], it["output"]["summary"])
            for it in scene.hub.check_runs(scene.repository, sha)
        }
        for sha in (before["head"]["sha"], head)
    )
    assert then == now
    assert f"The repository's own CI runs since `{head[:12]}`, as `maria` asked." in after["body"]
    assert "was not started" not in after["body"]
    report, note = scene.ours(after["number"])
    assert report == then_report.replace(held, f"- The repository's own CI runs since `{head[:12]}`, as `maria` asked.")
    assert "was not started" not in report
    assert note.startswith(f"The repository's CI may run on {head}: an empty commit on `{branch}`, with our checks ")

    # Redelivered it makes nothing more; asked again there is nothing held back.
    (delivered,) = (
        it
        for it in house.stage.hub.deliveries
        if it.event == "issue_comment" and json.loads(it.body)["comment"]["id"] == word.comment
    )
    redelivered = scene.hub.redeliver(delivered.id)
    await scene.hub.settled()
    assert json.loads(redelivered.response_body) == {"status": "duplicate"}
    assert asked.pull["head"]["sha"] == head
    again = await said(asked, "/orchestrate ci")
    await again.reacted("confused")
    assert asked.pull["head"]["sha"] == head
    assert scene.ours(after["number"])[-1].startswith("CI not started: CI is not held back on the head of this ")


@pytest.mark.slow
async def test_sec_27_a_round_on_a_head_that_holds_ci_back_holds_it_too_and_after_the_word_it_need_not(
    house: House,
) -> None:
    asked = await opened(house)

    await (await said(asked, "/orchestrate revise Name the constant.")).reacted("rocket")
    assert (await messages(asked))[-1].rstrip().endswith(HELD)
    await (await said(asked, "/orchestrate ci")).reacted("rocket")
    await (await said(asked, "/orchestrate revise Name it better.")).reacted("rocket")
    await (await said(asked, "/orchestrate ci")).reacted("confused")

    assert HELD not in (await messages(asked))[-1]
    assert asked.scene.checks(asked.pull["head"]["sha"]) == GOOD_CHECKS
