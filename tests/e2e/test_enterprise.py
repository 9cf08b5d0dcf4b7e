"""GitHub Enterprise Server: its API under a path of the server, its redelivery window of seven days."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.stage import GOOD_CHECKS, MAINTAINER, Scene, Stage, until
from tests.loopback import Script


def _old(scene: Scene, days: int) -> tuple[int, dict[str, Any]]:
    """A comment that GitHub delivers days after it was made."""
    scene.hub.set_webhook(scene.stage.app_id, None)
    comment = scene.comment(scene.issue(), "/orchestrate", MAINTAINER)
    (made,) = [it for it in scene.hub.comments(scene.repository) if it["id"] == comment]
    at = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (issue,) = [it for it in scene.hub.issues(scene.repository) if it["url"] == made["issue_url"]]
    (installation,) = scene.hub.state.installations.values()
    repository = {
        "id": scene.hub.repository(scene.repository).id,
        "full_name": scene.repository,
        "default_branch": "main",
        "private": False,
    }
    return comment, {
        "action": "created",
        "comment": made | {"created_at": at},
        "issue": issue,
        "repository": repository,
        "sender": made["user"],
        "installation": {"id": installation.id},
    }


@pytest.mark.slow
async def test_on_a_server_of_ones_own_a_run_asks_only_below_its_api_and_takes_what_is_five_days_old(
    stage: Stage,
) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    five, fresh = _old(scene, 5)
    nine, stale = _old(scene, 9)
    assert stage.environment()["GITHUB_API_URL"] == f"{stage.hub.url}/api/v3"

    async with stage.bot():
        (taken,) = scene.hub.deliver("issue_comment", fresh, app_id=stage.app_id)
        (left,) = scene.hub.deliver("issue_comment", stale, app_id=stage.app_id)
        await until(lambda: scene.reactions(five)[1:], "the end of the run")

    assert scene.reactions(five) == ["eyes", "rocket"]
    assert json.loads(taken.response_body)["status"] == "queued"
    assert json.loads(left.response_body) == {
        "status": "ignored",
        "reason": "the comment is older than GitHub's redelivery window",
    }
    assert scene.reactions(nine) == []
    asked = {it.path for it in stage.hub.requests if "Hookshot" not in it.headers.get("user-agent", "")}
    git = {it for it in asked if it.startswith((f"/{scene.repository}.git/", f"/{scene.repository}/"))}
    assert [it for it in sorted(asked - git) if not it.startswith(("/api/v3/", "/api/graphql"))] == []
    assert git
    (pull,) = scene.hub.pull_requests(scene.repository)
    assert scene.checks(pull["head"]["sha"]) == GOOD_CHECKS
    assert pull["html_url"].startswith(f"{stage.hub.url}/{scene.repository}/pull/")
