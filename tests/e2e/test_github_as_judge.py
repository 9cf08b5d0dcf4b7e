"""GitHub's own descriptions judge a whole conversation: what the bot asks, what the local GitHub answers and sends.

`make test-full` judges all end-to-end tests so, in one place: see `tests/run.sh`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.end_state import run
from tests.e2e.stage import MAINTAINER, SPEC, open_stage, until
from tests.judge.descriptions import descriptions
from tests.judge.verdict import judge
from tests.loopback import Script

pytestmark = pytest.mark.node

REPO = "/repos/{owner}/{repo}"
OPERATIONS = {
    "POST /app/installations/{installation_id}/access_tokens",
    f"GET {REPO}/collaborators/{{username}}/permission",
    f"GET {REPO}/contents/{{path}}",
    f"POST {REPO}/git/blobs",
    f"POST {REPO}/git/trees",
    f"POST {REPO}/git/commits",
    f"POST {REPO}/git/refs",
    f"POST {REPO}/pulls",
    f"POST {REPO}/issues/{{issue_number}}/comments",
    f"POST {REPO}/issues/{{issue_number}}/labels",
    f"PATCH {REPO}/issues/comments/{{comment_id}}",
    f"POST {REPO}/issues/comments/{{comment_id}}/reactions",
    f"POST {REPO}/check-runs",
    f"GET {REPO}/commits/{{ref}}/check-runs",
    "webhook issue_comment created",
    "webhook issues opened",
    "webhook pull_request opened",
    "webhook pull_request labeled",
    "webhook check_run created",
    "webhook installation created",
    "webhook push",
}


def _spoilt(journal: Path, folder: Path) -> Path:
    """Return a folder with the opening of the pull request as the journal has it, but for three mistakes."""
    (file,) = journal.glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    (opened,) = (it for it in lines if it.get("method") == "POST" and it["path"].endswith("/pulls"))
    (told,) = (it for it in lines if it.get("event") == "pull_request" and it["payload"]["action"] == "opened")
    opened["request"]["titel"] = "x"
    del opened["answer"]["number"]
    told["payload"]["pull_request"]["head"]["sha"] = 7
    folder.mkdir()
    (folder / "spoilt.jsonl").write_text(f"{json.dumps(opened)}\n{json.dumps(told)}\n")
    return folder


async def test_a_whole_conversation_is_valid_by_githubs_own_descriptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    monkeypatch.setenv("LOCALHUB_JOURNAL", str(journal))
    async with open_stage(tmp_path, Script(tasks=1)) as stage, stage.bot():
        scene = await stage.scene(f"{SPEC}github:\n  labels: [orchestrated]\n")
        await run(scene)
        broken = await scene.hub.commit(scene.repository, {".orchestrator.yaml": "bugdet: 1\n"}, user=MAINTAINER)
        await until(lambda: scene.checks(broken), "the check run of a broken spec")

    by = await asyncio.to_thread(descriptions)
    verdict = judge(journal, *by)

    assert dict(verdict.mistakes) == {}
    assert OPERATIONS - set(verdict.operations) == set()
    assert verdict.judged["exchange"] > 40
    assert verdict.judged["webhook"] > 10
    # And it is no judge that lets everything pass.
    assert dict(judge(_spoilt(journal, tmp_path / "spoilt"), *by).mistakes) == {
        f"POST {REPO}/pulls: request: titel is not known": 1,
        f"POST {REPO}/pulls: answer 201: the body: 'number' is a required property": 1,
        "webhook pull_request opened: pull_request.head.sha: 7 is not of type 'string'": 1,
    }
