"""What else sets the bot to work, through the public surface: reviews, buttons, re-runs, and what closes or stops."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from bot.localhub.state import Delivery
from tests.e2e.stage import MAINTAINER, House, Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _api(scene: Scene, method: str, path: str, body: dict[str, Any] | None = None, user: str = MAINTAINER) -> Any:
    """Return the answer to a request that somebody makes about the repository."""
    headers = {"Authorization": f"Bearer {scene.hub.token_for(user)}"}
    async with httpx.AsyncClient(base_url=scene.hub.api_url, trust_env=False, timeout=30, headers=headers) as client:
        answer = await client.request(method, f"/repos/{scene.repository}{path}", json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def _answers(scene: Scene, event: str) -> list[tuple[int, dict[str, str]]]:
    """Wait until every delivery of an event about the repository is answered, and return the answers."""
    await scene.hub.settled()
    return [(it.status_code, json.loads(it.response_body)) for it in _sent(scene, event)]


def _sent(scene: Scene, event: str) -> list[Delivery]:
    repo = scene.hub.repository(scene.repository)
    return [it for it in scene.hub.deliveries if it.event == event and it.repository_id == repo.id]


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
    answers = await _answers(scene, "pull_request_review")
    lines = await _answers(scene, "pull_request_review_comment")
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
