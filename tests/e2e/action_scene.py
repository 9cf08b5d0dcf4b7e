"""The scene of the Action's tests: a repository on the local GitHub, its people, and events as a runner hands them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.localhub import LocalHub, render
from tests.e2e.action_steps import StepRunner
from tests.e2e.endorsements import endorsements
from tests.loopback import Answer, Asked, ModelServer

REPO = "octo/demo"
SPEC = "project:\n  app_type: library\nvalidation:\n  validators: [python_syntax]\n  commands: ['true']\n"


def review(asked: Asked) -> Answer:
    """A reviewer that approves, with remarks that would like to be workflow commands."""
    finding = {
        "path": "sample_library/part_1.py",
        "line": 3,
        "severity": "warning",
        "message": "100% vague\n::error::forged\n::set-output name=status::forged",
    }
    return Answer({"score": 0.9, "verdict": "approve", "findings": [finding]})


@asynccontextmanager
async def opened(root: Path, spec: str = SPEC) -> AsyncIterator[LocalHub]:
    """Open a GitHub with the repository, whose maintainer is maria."""
    async with LocalHub(root=root) as hub:
        await hub.create_repository(REPO, {"README.md": "# Demo\n", ".orchestrator.yaml": spec})
        for login, role in (("maria", "write"), ("stranger", "read")):
            hub.create_user(login)
            hub.set_permission(REPO, login, role)
        yield hub
        assert endorsements(hub.requests) == []


def runner_for(tmp_path: Path, hub: LocalHub, models: ModelServer, **inputs: str) -> StepRunner:
    environment = {
        **models.environment(),
        "GITHUB_API_URL": hub.api_url,
        "GITHUB_SERVER_URL": hub.url,
        "GITHUB_REPOSITORY": REPO,
        "GITHUB_ACTOR": "maria",
    }
    return StepRunner(tmp_path / "job", hub.workflow_token(REPO), environment, inputs)


def comment_on(
    hub: LocalHub, runner: StepRunner, text: str, user: str = "maria", issue: int | None = None
) -> tuple[int, int]:
    """Comment on an issue, by default a new one, with that event as the workflow's; return both their numbers."""
    repo = hub.repository(REPO)
    number = issue or hub.create_issue(REPO, "A sample library", "Write a sample library.", user="maria")
    comment_id = hub.comment(REPO, number, text, user=user)
    there = repo.issues[number]
    (comment,) = (it for it in there.comments if it.id == comment_id)
    runner.event(
        "issue_comment",
        {
            "action": "created",
            "issue": render.issue(hub.url, repo, there),
            "comment": render.comment(hub.url, repo, there, comment),
            "repository": render.repository(hub.url, repo),
            "sender": render.user(hub.url, comment.user),
        },
    )
    return number, comment_id


def dispatch(hub: LocalHub, runner: StepRunner, user: str = "maria") -> None:
    repo = hub.repository(REPO)
    sender = render.user(hub.url, hub.create_user(user))
    runner.event("workflow_dispatch", {"repository": render.repository(hub.url, repo), "sender": sender})
