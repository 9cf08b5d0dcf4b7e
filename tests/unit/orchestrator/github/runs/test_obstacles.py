from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.runs.obstacles import IssueNow, LinkedPullRequest, why_not_begun, why_not_second
from orchestrator.github.stories.handler import HandledRun, handle
from orchestrator.github.triggers.command import Command, parse_command
from orchestrator.operator_config import OperatorConfig
from orchestrator.state import ProjectStatus
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.github.stories.test_handler import KnownPlane

FORCE = "To start all the same, add `--force`."


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (IssueNow(True, False), ""),
        (IssueNow(False, False), "the issue is closed. Open it again first. "),
        (IssueNow(True, True), "the issue is locked. Unlock it first. "),
        (IssueNow(True, False, ("Maria",)), ""),
        (IssueNow(True, False, ("joe", "maria")), ""),
        (IssueNow(True, False, ("joe",)), "the issue is assigned to `joe`, and not to whoever asks. "),
        (
            IssueNow(True, False, (), (LinkedPullRequest("https://github.com/octo/demo/pull/3", "fix"),)),
            "an open pull request will close the issue: https://github.com/octo/demo/pull/3. ",
        ),
        (IssueNow(True, False, (), (LinkedPullRequest("https://x/4", "orchestrator/7-a-tool"),)), ""),
    ],
)
def test_an_issue_that_others_are_at_or_that_is_done_with_is_not_begun(now: IssueNow, says: str) -> None:
    refusal = why_not_begun(now, "maria", "orchestrator/7-")
    assert (refusal.message if refusal else "") == (says + FORCE if says else "")


def test_beside_an_unfinished_run_none_begins_and_revise_is_named() -> None:
    waits = why_not_second(ProjectStatus.WAITING, "https://x/1#issuecomment-2").message
    works = why_not_second(ProjectStatus.INTERRUPTED, "").message
    assert waits.startswith("a plan of this issue waits (https://x/1#issuecomment-2). Comment `/orchestrate approve`")
    assert works.startswith("a run of this issue is not finished. Wait for its end, or comment `/orchestrate cancel`")
    assert waits.endswith("Ask for changes with `/orchestrate revise` on its pull request, once that is open.")
    assert works.endswith("Ask for changes with `/orchestrate revise` on its pull request, once that is open.")


async def _api(scene: Scene, method: str, path: str, body: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {scene.hub.token_for('maria')}"}
    async with httpx.AsyncClient(base_url=scene.hub.api_url, trust_env=False, headers=headers) as client:
        answer = await client.request(method, f"/repos/{REPO}{path}", json=body)
    assert answer.status_code < 300, answer.text


async def _handled(
    scene: Scene, issue: int, text: str, plane: KnownPlane, effects: MemoryEffects | None = None
) -> HandledRun:
    trigger = scene.trigger(issue, text)
    command = parse_command(trigger.comment)
    assert isinstance(command, Command)
    return await handle(
        trigger,
        command,
        github=scene.github,
        plane=plane,
        effects=effects or MemoryEffects(),
        operator=OperatorConfig(),
    )


@pytest.mark.parametrize("obstacle", ["closed", "locked", "assigned", "linked"])
async def test_a_run_is_refused_before_anything_is_spent_and_force_begins_it(scene: Scene, obstacle: str) -> None:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    await scene.hub.commit(REPO, {"limiter.py": "RATE = 2\n"}, branch="by-hand", user="maria")
    if obstacle == "closed":
        scene.hub.close_issue(REPO, issue, user="maria")
    elif obstacle == "locked":
        await _api(scene, "PUT", f"/issues/{issue}/lock", {"lock_reason": "resolved"})
    elif obstacle == "assigned":
        await _api(scene, "POST", f"/issues/{issue}/assignees", {"assignees": ["octocat"]})
    else:
        pull = {"title": "By hand", "head": "by-hand", "base": "main", "body": f"Fixes #{issue}"}
        await _api(scene, "POST", "/pulls", pull)
    plane = KnownPlane()

    refused = [await _handled(scene, issue, f"/orchestrate {name}", plane) for name in ("run", "plan")]
    forced = await _handled(scene, issue, "/orchestrate --force", plane)

    said = {"linked": f"{scene.hub.url}/{REPO}/pull/{issue + 1}", "assigned": "assigned to `octocat`"}
    for one in refused:
        assert one.status == "refused"
        assert said.get(obstacle, obstacle) in one.reason
        assert one.reason.endswith(FORCE)
    assert len(plane.jobs) == 1
    assert forced.status == "completed"


async def test_a_run_that_has_begun_goes_on_though_its_issue_was_closed_meanwhile(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    effects, plane = MemoryEffects(), KnownPlane()
    trigger = scene.trigger(issue, "/orchestrate")
    for _ in range(2):
        handled = await handle(
            trigger, Command("run"), github=scene.github, plane=plane, effects=effects, operator=OperatorConfig()
        )
        scene.hub.close_issue(REPO, issue, user="maria")
    assert handled.status == "completed"


async def test_where_github_does_not_list_linked_pull_requests_a_run_begins(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Implement a token bucket.", user="maria")
    scene.hub.faults.add(method="POST", path_regex="/graphql$", kind="status", status=403)
    assert (await _handled(scene, issue, "/orchestrate", KnownPlane())).status == "completed"
