"""An App that lacks a permission: what docs/permissions.md says comes of it, on the real bot."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.github.api.registration import APP_PERMISSIONS
from tests.e2e.stage import CHECKS, GOOD_CHECKS, Bot, Scene, Stage, until
from tests.loopback import Script

pytestmark = pytest.mark.slow


async def _asked(stage: Stage, **changed: str) -> tuple[Scene, int]:
    """Install the App with some permissions changed, `none` for those that it lacks; return the scene and an issue."""
    stage.models.script = Script(tasks=1)
    scene = await stage.scene(installed=False)
    granted = {name: level for name, level in {**APP_PERMISSIONS, **changed}.items() if level != "none"}
    scene.hub.install_app(stage.app_id, scene.repository, permissions=granted)
    return scene, scene.issue()


async def _reactions(scene: Scene, comment: int) -> list[str]:
    await until(lambda: {"rocket", "confused"} & set(scene.reactions(comment)), "the end of the run")
    return scene.reactions(comment)


def _refused(bot: Bot) -> list[dict[str, Any]]:
    return [it for it in bot.logged() if it.get("event") == "failed"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"contents": "none"}, "GitHub would not say where main stands: 403"),
        ({"issues": "none"}, "GitHub would not react with eyes: 403"),
        ({"issues": "read"}, "GitHub would not react with eyes: 403"),
    ],
)
async def test_without_contents_or_issues_nobody_is_answered_and_the_log_says_why(
    stage: Stage, changed: dict[str, str], what: str
) -> None:
    scene, issue = await _asked(stage, **changed)
    async with stage.bot() as bot:
        comment = scene.comment(issue, "/orchestrate")
        (failed, *_) = await until(lambda: _refused(bot), "the failure in the log")
    assert what in failed["error"]
    assert (scene.reactions(comment), scene.ours(issue)) == ([], [])
    assert stage.models.journal == []


@pytest.mark.parametrize("changed", [{"contents": "read"}, {"pull_requests": "none"}, {"pull_requests": "read"}])
async def test_a_run_that_could_not_deliver_is_refused_before_it_costs_anything_and_a_plan_is_not(
    stage: Stage, changed: dict[str, str]
) -> None:
    scene, issue = await _asked(stage, **changed)
    (name,) = changed
    async with stage.bot():
        assert await _reactions(scene, scene.comment(issue, "/orchestrate")) == ["eyes", "confused"]
        await until(lambda: scene.ours(issue), "the word about it")
        (said,) = scene.ours(issue)
        assert said.startswith(f"Not started: what is built could not be brought here: `{name}: write` is not granted.")
        assert f"Grant the App `{name}: write` at {scene.hub.url}/settings/apps/orchestrator/permissions" in said
        assert "missing_permission" in said
        assert stage.models.journal == []
        if name == "contents":
            assert await _reactions(scene, scene.comment(issue, "/orchestrate plan")) == ["eyes", "rocket"]
    assert scene.hub.pull_requests(scene.repository) == []


@pytest.mark.parametrize("name", ["actions", "statuses"])
async def test_without_actions_or_statuses_a_run_ends_as_ever(stage: Stage, name: str) -> None:
    scene, issue = await _asked(stage, **{name: "none"})
    async with stage.bot():
        assert await _reactions(scene, scene.comment(issue, "/orchestrate")) == ["eyes", "rocket"]
    assert scene.checks() == GOOD_CHECKS
    assert sorted(scene.checks()) == CHECKS
