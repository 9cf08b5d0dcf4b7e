from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.rendering.commits import commit_message, is_ours
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.conventions import ask_for_review, pull_request_template, trailers
from orchestrator.github.runs.desk import Desk
from orchestrator.github.triggers.command import Command
from orchestrator.sections import CommitSpec
from tests.unit.orchestrator.github import states
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene
from tests.unit.orchestrator.github.stories.test_handler import KnownPlane


async def _pull(scene: Scene) -> int:
    await scene.hub.commit(REPO, {"limiter.py": "x = 1\n"}, branch="orchestrator/1-limiter")
    made = await scene.client.write(
        "open", lambda it: it.create_pull("main", "orchestrator/1-limiter", title="Limiter", body="").number
    )
    return int(made)


def _desk(scene: Scene, actor: str = "maria", effects: MemoryEffects | None = None) -> Desk:
    issue = scene.hub.create_issue(REPO, "Rate limiter", "Build it.", user="maria")
    trigger = replace(scene.trigger(issue, "/orchestrate"), actor=actor)
    memory = effects or MemoryEffects()
    publisher = scene.publisher(memory)
    return Desk(trigger, Command("run"), RUN, scene.client, publisher, KnownPlane(), memory, Redactor(), None)


def _asked(scene: Scene) -> list[str]:
    (pull,) = scene.hub.pull_requests(REPO)
    return [person["login"] for person in pull["requested_reviewers"]]


def _requests(scene: Scene) -> int:
    return sum(it.method == "POST" and it.path.endswith("/requested_reviewers") for it in scene.hub.requests)


async def _review(scene: Scene, number: int, login: str, event: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{scene.hub.api_url}/repos/{REPO}/pulls/{number}/reviews",
            headers={"Authorization": f"Bearer {scene.hub.token_for(login)}"},
            json={"event": event, "body": "Looked at it."},
        )
    assert answer.status_code == 200, answer.text


async def test_the_requester_is_asked_once_however_often_the_run_goes_on(scene: Scene) -> None:
    number, effects = await _pull(scene), MemoryEffects()
    assert [await ask_for_review(_desk(scene, effects=effects), number) for _ in range(2)] == ["", ""]
    assert (_asked(scene), _requests(scene)) == (["maria"], 1)
    await ask_for_review(_desk(scene), number)  # a process without the first one's memory looks
    assert _requests(scene) == 1


async def test_a_request_that_was_taken_back_or_answered_is_not_made_again(scene: Scene) -> None:
    number, effects = await _pull(scene), MemoryEffects()
    await ask_for_review(_desk(scene, effects=effects), number)
    await scene.client.write("take back", lambda it: it.get_pull(number).delete_review_request(reviewers=["maria"]))
    await ask_for_review(_desk(scene, effects=effects), number)
    assert _asked(scene) == []
    await _review(scene, number, "maria", "COMMENT")
    await ask_for_review(_desk(scene), number)
    assert (_asked(scene), _requests(scene)) == ([], 1)


@pytest.mark.parametrize("actor", ["orchestrator[bot]", "renovate[bot]", "nobody-here", "outsider"])
async def test_whoever_may_not_review_is_not_asked_and_nothing_fails(scene: Scene, actor: str) -> None:
    scene.hub.create_user("outsider")
    number = await _pull(scene)
    assert await ask_for_review(_desk(scene, actor), number) == ""
    assert _asked(scene) == []


async def test_sec_28_it_is_said_when_the_one_who_commanded_is_the_only_one_who_approved(scene: Scene) -> None:
    number = await _pull(scene)
    scene.hub.create_user("paul")
    scene.hub.set_permission(REPO, "paul", "write")
    await _review(scene, number, "maria", "APPROVE")
    await _review(scene, number, "maria", "COMMENT")
    await _review(scene, number, "paul", "REQUEST_CHANGES")
    alone = "Only @maria, who asked for this, has approved it: nobody else has looked at it yet."
    assert await ask_for_review(_desk(scene), number) == alone
    await _review(scene, number, "paul", "APPROVE")
    assert await ask_for_review(_desk(scene), number) == ""


@pytest.mark.parametrize(
    "path", [".github/PULL_REQUEST_TEMPLATE.md", "pull_request_template.md", "docs/Pull_request_template.txt"]
)
async def test_the_template_is_found_where_github_looks_in_any_case(scene: Scene, path: str) -> None:
    await scene.hub.commit(REPO, {path: "## What\n\n- [x] done <!-- hidden -->\n"})
    assert await pull_request_template(scene.client, "main") == "## What\n\n- [ ] done"


async def test_a_repository_without_a_template_or_with_an_unreadable_one_has_none(scene: Scene) -> None:
    assert await pull_request_template(scene.client, "main") == ""
    await scene.hub.commit(REPO, {".github/pull_request_template.md": b"\xff\xfe"})
    assert await pull_request_template(scene.client, "main") == ""


async def test_trailers_stand_before_ours_by_the_commit_section_alone(scene: Scene) -> None:
    state, maria = states.completed(), scene.hub.create_user("maria")
    assert await trailers(scene.client, CommitSpec(), "maria", state) == ()
    assert await trailers(scene.client, CommitSpec(sign_off=True), "renovate[bot]", state) == ()
    wanted = await trailers(scene.client, CommitSpec(sign_off=True, assisted_by=True), "maria", state)
    assert [line.partition(":")[0] for line in wanted] == ["Assisted-by", "Signed-off-by"]
    assert wanted[0].endswith(":gpt-x")
    assert wanted[1] == f"Signed-off-by: maria <{maria.id}+maria@users.noreply.127.0.0.1>"
    for skip_checks in (False, True):
        message = commit_message("Limiter", "- it", RUN, skip_checks=skip_checks, trailers=wanted)
        assert is_ours(message, RUN)
        ends = "skip-checks: true\n" if skip_checks else f"Orchestrator-Run: {RUN}\n"
        assert message.endswith(ends)
        assert "\n".join([*wanted, f"Orchestrator-Run: {RUN}"]) in message
