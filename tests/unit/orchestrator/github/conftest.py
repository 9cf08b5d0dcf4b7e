"""A local GitHub with one repository, its App, a maintainer and a stranger."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.localhub import LocalHub
from orchestrator.github.api.auth import GitHubConnection
from orchestrator.github.api.client import RepositoryClient
from orchestrator.github.api.publisher import MemoryEffects, Publisher
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.triggers.trigger import Trigger, trigger_from_event

REPO = "octo/demo"
RUN = "r-aaaaaaaaaaaaaaaa"
FILES = {"README.md": "# Demo\n", "src/app.py": "print('hello')\n"}


@dataclass
class Scene:
    """What a test works with; `waits` are the seconds that the client would have slept."""

    hub: LocalHub
    github: GitHubConnection
    client: RepositoryClient
    installation: int
    waits: list[float] = field(default_factory=list)

    def publisher(
        self, effects: MemoryEffects | None = None, *, login: str = "orchestrator[bot]", buttons: bool = False
    ) -> Publisher:
        return Publisher(
            self.client,
            run_id=RUN,
            redactor=Redactor(["hunter2-hunter2"]),
            effects=effects or MemoryEffects(),
            login=login,
            requester="maria",
            buttons=buttons,
        )

    def trigger(self, issue: int, comment: str, user: str = "maria") -> Trigger:
        comment_id = self.hub.comment(REPO, issue, comment, user=user)
        (payload,) = (it for it in self.payloads() if it["comment"]["id"] == comment_id)
        found = trigger_from_event("issue_comment", payload)
        assert isinstance(found, Trigger)
        return found

    def payloads(self) -> list[dict[str, Any]]:
        from bot.localhub import render

        repo = self.hub.repository(REPO)
        return [
            {
                "action": "created",
                "issue": render.issue(self.hub.url, repo, issue),
                "comment": render.comment(self.hub.url, repo, issue, comment),
                "repository": render.repository(self.hub.url, repo),
                "sender": render.user(self.hub.url, comment.user),
                "installation": {"id": self.installation},
            }
            for issue in repo.issues.values()
            for comment in issue.comments
        ]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with LocalHub(root=tmp_path / "hub") as hub:
        await hub.create_repository(REPO, FILES)
        for login, role in (("maria", "write"), ("stranger", "read"), ("octocat", "read")):
            hub.create_user(login)
            hub.set_permission(REPO, login, role)
        app_id, key = hub.create_app("orchestrator", None, "s" * 32)
        installation = hub.install_app(app_id, REPO)
        github = GitHubConnection.from_environment(
            {
                "GITHUB_API_URL": hub.api_url,
                "GITHUB_SERVER_URL": hub.url,
                "GITHUB_APP_ID": str(app_id),
                "GITHUB_APP_PRIVATE_KEY": key,
            }
        )
        waits: list[float] = []

        async def wait(seconds: float) -> None:
            waits.append(seconds)

        github.sleep = wait
        github.clock = lambda: time.monotonic() + sum(waits)
        yield Scene(hub, github, github.repository(REPO, installation), installation, waits)
