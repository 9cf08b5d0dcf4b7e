"""What a maintainer sees of check runs, through the public surface: a round at work, buttons, and what stands in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.stage import CHECKS, GOOD_CHECKS, House, Stage, until
from tests.loopback import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_resumed_run_is_seen_at_work_on_its_head_and_what_stopped_early_offers_a_button(house: House) -> None:
    scene, models = await house.scene(script=Script(tasks=3)), house.stage.models
    before = len(models.journal)
    models.hold_after(4)
    asked = await scene.command("/orchestrate --budget 5")
    await until(lambda: len(models.journal) == before + 5, "the second task's question")
    cancel = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate cancel"))
    await cancel.reacted("rocket")
    models.release()
    await asked.reacted("confused")

    # Stopped early, each of the head's check runs offers to go on, on its page.
    head = asked.pull["head"]["sha"]
    stopped = scene.hub.check_runs(scene.repository, head)
    assert sorted(it["name"] for it in stopped) == CHECKS
    async with httpx.AsyncClient(base_url=scene.hub.url, trust_env=False) as http:
        pages = [await http.get(f"/{scene.repository}/runs/{it['id']}") for it in stopped]
    assert ["Retry failed" in page.text for page in pages] == [True] * 4

    # Resumed, the same check runs say how far it is.
    def working() -> list[dict[str, Any]]:
        runs = [it for it in scene.hub.check_runs(scene.repository, head) if it["status"] == "in_progress"]
        return runs if len(runs) == 4 else []

    models.hold_after(1)
    resume = await scene.answered(asked.issue, scene.comment(asked.issue, "/orchestrate resume"))
    shown = await until(working, "four check runs in progress")
    assert {it["id"] for it in shown} == {it["id"] for it in stopped}
    (title,) = {it["output"]["title"] for it in shown}
    assert title.startswith("1/3 tasks · $0.0")
    assert title.endswith(" of $5.00")
    models.release()
    await resume.reacted("rocket")

    # What was built is judged on the new head, and nothing stays open on the old one.
    new = asked.pull["head"]["sha"]
    assert (new != head, scene.checks(new)) == (True, GOOD_CHECKS)
    assert scene.checks(head) == dict.fromkeys(CHECKS, "cancelled")
    assert {it["output"]["title"] for it in scene.hub.check_runs(scene.repository, head)} == {
        f"Superseded by {new[:12]}"
    }
    (status,) = scene.ours(asked.issue)
    assert status.startswith(f"Done: #{asked.pull['number']} · 3/3 tasks · ")


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="function")
async def test_without_the_permission_for_checks_there_are_statuses_and_every_write_is_counted_in_the_database(
    stage: Stage,
) -> None:
    stage.models.script = Script(tasks=1)
    config = stage.folder / "operator.yaml"
    config.write_text("content_writes_per_hour: 500\n")
    scene = await stage.scene(installed=False)
    granted = {"contents": "write", "issues": "write", "pull_requests": "write", "statuses": "write"}
    scene.hub.install_app(stage.app_id, scene.repository, permissions={**granted, "metadata": "read"})
    async with stage.bot({"ORCHESTRATOR_CONFIG": str(config)}):
        asked = await scene.command()
        await asked.reacted("rocket")
        await asked.settled()

    statuses = {it["context"]: it["state"] for it in scene.hub.statuses(scene.repository)}
    assert statuses == dict.fromkeys(CHECKS, "success")
    (status,) = scene.ours(asked.issue)
    (report,) = scene.ours(asked.pull["number"])
    page = f"{scene.hub.url}/settings/apps/orchestrator/permissions"
    for text in (status, report):
        assert "The token lacks the permission `checks: write`, so the check runs are commit statuses." in text
        assert f"Grant the App `checks: write` at {page}" in text

    content = [it for it in scene.writes() if not it.partition(" ")[2].startswith("/git/")]
    ((installation, room),) = stage.rows("SELECT installation, room FROM content")
    assert installation == "octo"
    assert len(content) <= 72.9 - room + 7  # seven flow in with a minute
    assert len(content) >= 10
