"""Commands about a run that exists, through the public surface: cancelled midway, taken up again, one of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.stage import GOOD_CHECKS, Asked, House, Scene, Stage, until
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _held_at_the_second_task(house: House, scene: Scene, text: str = "/orchestrate") -> tuple[Asked, int]:
    """Give a command and let the models fall silent when the first of two tasks is done; returns the calls till then."""
    before = len(house.stage.models.journal)
    house.stage.models.hold_after(4)
    asked = await scene.command(text)
    await until(lambda: len(house.stage.models.journal) == before + 5, "the fifth question")
    return asked, before + 5


async def test_a_run_cancelled_midway_asks_no_more_models_and_goes_on_where_it_was(house: House) -> None:
    scene = await house.scene(script=Script(tasks=2))
    asked, calls = await _held_at_the_second_task(house, scene)

    cancel = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate cancel"))
    await cancel.reacted("rocket")
    house.stage.models.release()
    await asked.reacted("confused")

    assert (cancel.status, cancel.answer) == (202, {"status": "queued", "run_id": asked.run_id})
    assert len(house.stage.models.journal) == calls
    assert (await house.bot.report(asked.run_id))["status"] == "cancelled"
    (status,) = scene.ours(asked.issue)
    first = status.splitlines()[0]
    assert first.startswith(f"Cancelled by maria: #{asked.pull['number']} · 1/2 tasks · $0.0")
    assert first.endswith("Left undone: `part-2`. To go on, comment `/orchestrate resume`.")
    assert asked.pull["draft"] is True
    assert f"Part of #{asked.issue}" in asked.pull["body"]
    assert set(scene.checks(asked.pull["head"]["sha"]).values()) >= {"cancelled"}

    resume = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate resume"))
    await resume.reacted("rocket")
    await resume.settled()

    assert (resume.status, resume.answer) == (202, {"status": "queued", "run_id": asked.run_id})
    assert house.stage.generated(house.calls_since(calls)) == ["part-2"]
    pull = asked.pull
    assert f"Closes #{asked.issue}" in pull["body"]
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    assert sorted(await scene.hub.branches(scene.repository)) == ["main", f"orchestrator/{asked.issue}-sample-library"]
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{pull['number']} · 2/2 tasks · ")
    (report,) = scene.ours(pull["number"])
    assert report.endswith(f"<!-- orchestrator:report run={asked.run_id} -->")
    assert house.stage.reserved() == 0
