"""An App that lacks a permission: what docs/permissions.md says comes of it, on the real bot."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.github.registration import APP_PERMISSIONS
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


@pytest.mark.parametrize(
    ("changed", "what", "spends", "branches"),
    [
        ({"contents": "read"}, "GitHub would not write a file: 403", True, 1),
        ({"pull_requests": "none"}, "GitHub would not list pull requests: 403", False, 1),
        ({"pull_requests": "read"}, "GitHub would not open a pull request: 403", True, 2),
    ],
)
async def test_a_run_that_may_not_write_its_result_ends_with_the_code_of_a_missing_permission(
    stage: Stage, changed: dict[str, str], what: str, spends: bool, branches: int
) -> None:
    scene, issue = await _asked(stage, **changed)
    async with stage.bot():
        assert await _reactions(scene, scene.comment(issue, "/orchestrate")) == ["eyes", "confused"]
        await until(lambda: any("missing_permission" in text for text in scene.ours(issue)), "the word about it")
    (said,) = [text for text in scene.ours(issue) if "missing_permission" in text]
    assert what in said
    assert bool(stage.models.journal) is spends
    assert len(await scene.hub.branches(scene.repository)) == branches
    assert scene.hub.pull_requests(scene.repository) == []


@pytest.mark.parametrize("name", ["actions", "statuses"])
async def test_without_actions_or_statuses_a_run_ends_as_ever(stage: Stage, name: str) -> None:
    scene, issue = await _asked(stage, **{name: "none"})
    async with stage.bot():
        assert await _reactions(scene, scene.comment(issue, "/orchestrate")) == ["eyes", "rocket"]
    assert scene.checks() == GOOD_CHECKS
    assert sorted(scene.checks()) == CHECKS
