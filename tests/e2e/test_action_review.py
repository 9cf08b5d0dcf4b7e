"""`/orchestrate review` in a workflow, with its own token and no database that jobs share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from bot.localhub import LocalHub
from tests.e2e.action_scene import REPO, comment_on, opened, runner_for
from tests.e2e.action_steps import LAST
from tests.e2e.test_action import _report
from tests.loopback import Answer, Asked, ModelServer, Script

FINDING = {
    "path": "stats.py",
    "line": 2,
    "severity": "error",
    "message": "Dividing by zero always raises.\n\n```suggestion\n    return sum(values) / len(values)\n```",
}


def _says(asked: Asked) -> Answer:
    findings = [FINDING] if asked.provider == "openai" else []
    return Answer({"score": 0.5, "verdict": "request_changes" if findings else "approve", "findings": findings})


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer(Script(answers={"review": _says})) as server:
        yield server


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[LocalHub]:
    async with opened(tmp_path / "hub", "policy:\n  allowed_providers: [openai, anthropic]\n") as hub:
        yield hub


@pytest.mark.slow
async def test_a_workflow_reviews_a_forks_pull_request_and_run_again_says_nothing_twice(
    tmp_path: Path, hub: LocalHub, models: ModelServer
) -> None:
    # Given a pull request from a fork, and a comment on it by a maintainer
    await hub.fork(REPO, "stranger")
    code = "def mean(values):\n    return sum(values) / 0\n"
    head = await hub.commit("stranger/demo", {"stats.py": code}, branch="mean")
    async with httpx.AsyncClient(base_url=hub.api_url, trust_env=False) as client:
        proposed = await client.post(
            f"/repos/{REPO}/pulls",
            json={"title": "Add a mean", "head": "stranger:mean", "base": "main"},
            headers={"Authorization": f"Bearer {hub.token_for('stranger')}"},
        )
    number = proposed.json()["number"]
    for attempt in (1, 2):
        # When the workflow's job runs, the second time on a fresh machine
        runner = runner_for(tmp_path / str(attempt), hub, models)
        runner.use_this_interpreter()
        comment_on(hub, runner, "/orchestrate review", issue=number)
        ran = await runner.run(LAST)
        # Then its outputs name the pull request, and its report is the review's
        outputs = runner.outputs()
        assert (ran.status, outputs["status"], outputs["pull-request-number"]) == (0, "completed", str(number)), ran.log
        assert outputs["branch"] == ""
        assert [it["type"] for it in _report(runner)["tasks"]] == ["code_review", "code_review"]
    # and the finding stands once at its line, with a suggestion that can be committed
    pull = hub.repository(REPO).issues[number].pull
    assert pull is not None
    ((author, line, body),) = [(it.user.login, it.line, it.body) for it in pull.comments]
    assert (author, line) == ("github-actions[bot]", 2)
    assert "```suggestion\n    return sum(values) / len(values)\n```" in body
    assert [review.state for review in pull.reviews] == ["COMMENTED"]
    assert [(it["name"], it["conclusion"]) for it in hub.check_runs(REPO, head)] == [("orchestrator/review", "failure")]
    assert sorted(await hub.branches(REPO)) == ["main"]
