"""One kept payload, worked on by hand: only shown, and then for real."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.faults import RecordedRequest
from tests.e2e.attempts import attempted_writes
from tests.e2e.stage import MAINTAINER, Scene, Stage
from tests.loopback import Script


async def _replayed(stage: Stage, payload: dict[str, Any] | str, *arguments: str) -> tuple[int, str, str]:
    path = stage.folder / "payload.json"
    path.write_text(payload if isinstance(payload, str) else json.dumps(payload))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "replay", str(path), *arguments),
        env={name: value for name, value in stage.environment().items() if value},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def _payload(scene: Scene, comment: str, created_at: str = "") -> dict[str, Any]:
    """The payload of a comment that nobody received."""
    scene.hub.set_webhook(scene.stage.app_id, "http://127.0.0.1:9/webhook")
    scene.comment(scene.issue(), comment, MAINTAINER)
    sent: dict[str, Any] = scene.hub.deliveries[-1].payload()
    if created_at:
        sent["comment"]["created_at"] = created_at
    return sent


def _writes(scene: Scene) -> list[RecordedRequest]:
    return attempted_writes(scene.hub.requests)


async def test_a_dry_run_prints_every_call_with_what_it_says_and_makes_none_of_them(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    payload = _payload(scene, "/orchestrate --budget 2", created_at="2020-01-01T00:00:00Z")

    status, out, err = await _replayed(stage, payload, "--dry-run")

    assert (status, "Traceback" in err) == (0, False), err
    assert _writes(scene) == []
    repository, issue = f"/repos/{scene.repository}", payload["issue"]["number"]
    calls = [line.partition(" {")[0] for line in out.splitlines() if line.startswith(("POST ", "PATCH "))]
    assert [it for it in calls if "/git/blobs" not in it and not it.startswith("PATCH")] == [
        f"POST {repository}/issues/comments/{payload['comment']['id']}/reactions",
        f"POST {repository}/issues/{issue}/comments",
        f"POST {repository}/git/trees",
        f"POST {repository}/git/commits",
        f"POST {repository}/git/refs",
        f"POST {repository}/pulls",
        f"POST {repository}/pulls/{issue + 1}/requested_reviewers",
        *[f"POST {repository}/check-runs"] * 4,
        f"POST {repository}/issues/{issue + 1}/comments",
        f"POST {repository}/issues/comments/{payload['comment']['id']}/reactions",
    ]
    assert f'POST {repository}/git/refs {{"ref": "refs/heads/orchestrator/{issue}-sample-library"' in out
    assert "\n    +++ b/sample_library/part_1.py\n" in out
    assert f"\n    Done: #{issue + 1} · 1/1 tasks" in out
    assert out.splitlines()[-1].startswith("shown: r-")


@pytest.mark.slow
async def test_after_a_dry_run_the_command_is_still_new_and_is_done_once(stage: Stage) -> None:
    stage.models.script = Script(tasks=1)
    scene = await stage.scene()
    payload = _payload(scene, "/orchestrate help")

    assert (await _replayed(stage, payload, "--dry-run"))[0] == 0
    assert scene.ours(payload["issue"]["number"]) == []
    status, out, _ = await _replayed(stage, payload)
    assert (status, out.startswith("done: r-")) == (0, True)
    status, out, _ = await _replayed(stage, payload, "--event", "issue_comment")
    assert (status, out) == (0, "duplicate: this delivery, or its comment's command, was taken before\n")
    assert len(scene.ours(payload["issue"]["number"])) == 1


@pytest.mark.slow
async def test_what_cannot_be_replayed_is_said_in_a_sentence(stage: Stage, tmp_path: Path) -> None:
    assert await _replayed(stage, {"zen": "Keep it simple."}) == (0, "ignored: ping asks for nothing\n", "")
    for payload, said in (("[1]", "is no payload: not an object"), ('{"x": 1}', "cannot be told by its shape")):
        status, out, err = await _replayed(stage, payload)
        assert (status, out, said in err, "Traceback" in err) == (2, "", True, False)
