"""`/orchestrate review` over the local GitHub with scripted models: whatever is lost, the end is the same."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from github import Auth, Github

from orchestrator.github.api.client import Unreachable
from orchestrator.github.stories.handler import HandledRun, handle
from orchestrator.github.triggers.command import parse_command
from orchestrator.github.triggers.trigger import Trigger, run_id_for
from orchestrator.providers.base import CompletionRequest
from orchestrator.providers.scripted import Scripted
from orchestrator.store import EffectStore
from tests.unit.orchestrator.github.conftest import REPO, Scene
from tests.unit.orchestrator.models import Models
from tests.unit.orchestrator.test_dependencies import index

LIMITED = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
CODE = "def mean(values):\n    return sum(values) / 0\n"
WRITES = {
    "/reactions$": "POST",
    "/issues/[0-9]+/comments$": "POST",
    "/reviews$": "POST",
    "/check-runs$": "POST",
    "/check-runs/[0-9]+$": "PATCH",
    "/comments/[0-9]+$": "PATCH",
    "/graphql$": "POST",
}


def _models() -> Models:
    def say(request: CompletionRequest) -> Scripted:
        finding = {"path": "stats.py", "line": 2, "severity": "error", "message": "Dividing by zero always raises."}
        return json.dumps({"score": 0.3, "verdict": "request_changes", "findings": [finding]})

    return Models(say={"review": say})


async def _pull(scene: Scene) -> tuple[Trigger, int, str]:
    await scene.hub.fork(REPO, "stranger")
    head = await scene.hub.commit("stranger/demo", {"stats.py": CODE}, branch="mean")

    def propose() -> int:
        auth = Auth.Token(scene.hub.token_for("stranger"))
        with Github(base_url=scene.hub.api_url, auth=auth, seconds_between_writes=0) as stranger:
            repository = stranger.get_repo(REPO)
            return repository.create_pull(base="main", head="stranger:mean", title="Add a mean").number

    number = await asyncio.to_thread(propose)
    return scene.trigger(number, "/orchestrate review"), number, head


async def _attempt(scene: Scene, trigger: Trigger, models: Models, home: Path) -> HandledRun:
    """Handle the command as a process of its own."""
    run_id = run_id_for(trigger.repository_id, trigger.source, "review")
    command = parse_command(trigger.comment, on_pull_request=True)
    assert command is not None
    async with models.plane(home) as plane:
        return await handle(
            trigger,
            command,
            github=scene.github,
            plane=plane,
            effects=EffectStore(plane.database, run_id),
            operator=plane.operator,
            resumable=True,
        )


async def _reviewed(scene: Scene, trigger: Trigger, models: Models, home: Path) -> HandledRun:
    """Handle the command as the bot's jobs do: again whenever GitHub could not be reached."""
    for _ in WRITES:
        try:
            return await _attempt(scene, trigger, models, home)
        except Unreachable:
            continue
    return await _attempt(scene, trigger, models, home)


def _end(scene: Scene, number: int, head: str) -> object:
    pull = scene.hub.repository(REPO).issues[number].pull
    assert pull is not None
    return (
        [(review.state, review.commit_sha == head) for review in pull.reviews],
        [(it.path, it.line) for it in pull.comments],
        [it["body"].partition(":")[0] for it in scene.hub.comments(REPO, number) if it["user"]["type"] == "Bot"],
        [(it["name"], it["conclusion"], it["output"]["annotations_count"]) for it in scene.hub.check_runs(REPO, head)],
    )


@pytest.mark.parametrize(
    "kind",
    ["drop_after", pytest.param("status", marks=pytest.mark.slow), pytest.param("limit", marks=pytest.mark.slow)],
)
async def test_with_every_write_failing_once_the_end_is_the_same_and_nothing_is_paid_twice(
    scene: Scene, tmp_path: Path, kind: Literal["status", "drop_after", "limit"]
) -> None:
    trigger, number, head = await _pull(scene)
    for path, method in WRITES.items():
        if kind == "limit":
            scene.hub.faults.add(
                method=method, path_regex=path, kind="status", status=403, headers={"retry-after": "1"}, body=LIMITED
            )
        else:
            scene.hub.faults.add(method=method, path_regex=path, kind=kind)
    models = _models()
    handled = await _reviewed(scene, trigger, models, tmp_path)
    assert handled.status == "completed"
    assert len(models.asked) == 2
    assert _end(scene, number, head) == (
        [("COMMENTED", True)],
        [("stats.py", 2)],
        ["Reviewed"],
        [("orchestrator/review", "failure", 1)],
    )


async def test_a_review_stays_about_the_head_that_was_there_when_it_began(scene: Scene, tmp_path: Path) -> None:
    # Given a review that is interrupted after the models have answered
    trigger, number, head = await _pull(scene)
    models = _models()
    scene.hub.faults.add(method="POST", path_regex="/reviews$", kind="drop_before")
    with pytest.raises(Unreachable):
        await _attempt(scene, trigger, models, tmp_path)
    # When the head moves before it goes on
    await scene.hub.commit("stranger/demo", {"other.py": "x = 1\n"}, branch="mean")
    handled = await _attempt(scene, trigger, models, tmp_path)
    # Then it is about the commit that was read, says that there is a newer one, and has paid for nothing again
    assert (handled.head_sha, len(models.asked)) == (head, 2)
    assert f"The head has moved since; this is about {head[:12]}." in handled.report
    assert _end(scene, number, head) == (
        [("COMMENTED", True)],
        [("stats.py", 2)],
        ["Reviewed"],
        [("orchestrator/review", "failure", 1)],
    )


async def test_a_closed_pull_request_is_not_reviewed(scene: Scene, tmp_path: Path) -> None:
    trigger, number, _ = await _pull(scene)
    scene.hub.close_issue(REPO, number, user="maria")
    models = _models()
    handled = await _reviewed(scene, trigger, models, tmp_path)
    assert (handled.status, models.asked) == ("refused", [])
    assert f"Not reviewed: pull request #{number} is closed." in handled.report


async def test_a_commit_of_a_run_of_ours_keeps_its_own_check(scene: Scene, tmp_path: Path) -> None:
    head = await scene.hub.commit(
        REPO, {"stats.py": CODE}, branch="orchestrator/1-x", message="Build\n\nOrchestrator-Run: r-aaaaaaaaaaaaaaaa"
    )
    opened = await scene.client.write(
        "open", lambda repository: repository.create_pull(base="main", head="orchestrator/1-x", title="Build")
    )
    trigger = scene.trigger(opened.number, "/orchestrate review")
    handled = await _reviewed(scene, trigger, _models(), tmp_path)
    assert scene.hub.check_runs(REPO, head) == []
    assert "its own run's, and stays as it is" in handled.report


async def test_sec_23_a_review_lists_what_a_strangers_change_newly_depends_on_and_days_old_names_fail_it(
    scene: Scene, tmp_path: Path
) -> None:
    def approve(_: CompletionRequest) -> Scripted:
        return json.dumps({"score": 0.9, "verdict": "approve", "findings": []})

    trigger, number, _ = await _pull(scene)
    head = await scene.hub.commit("stranger/demo", {"requirements.txt": "requests-ai\n"}, branch="mean")
    released = {"info": {"version": "0.1", "license": "MIT"}, "releases": {"0.1": [{"upload_time_iso_8601": "X"}]}}
    document = json.loads(json.dumps(released).replace("X", datetime.now(UTC).isoformat()))
    async with index({"/pypi/requests-ai/json": document}) as (host, asked):
        (tmp_path / "config.yaml").write_text(f"index_hosts: ['{host}']\n")
        await _reviewed(scene, trigger, Models(say={"review": approve}), tmp_path)
    (check,) = [it for it in scene.hub.check_runs(REPO, head) if it["name"] == "orchestrator/review"]
    assert check["conclusion"] == "failure"
    assert "a new dependency does not exist, is days old or comes from elsewhere" in check["output"]["title"]
    said = [it["body"] for it in scene.hub.comments(REPO, number) if it["user"]["type"] == "Bot"]
    assert "New dependency: requests-ai (PyPI) 0.1: first released" in said[-1]
    assert len(asked) == 1


async def test_sec_23_a_review_vouches_neither_for_other_sources_nor_for_what_it_could_not_read(
    scene: Scene, tmp_path: Path
) -> None:
    def approve(_: CompletionRequest) -> Scripted:
        return json.dumps({"score": 0.9, "verdict": "approve", "findings": []})

    trigger, number, _ = await _pull(scene)
    first = {"requirements.in": "flask\n".encode("utf-16"), "package.json": b'{"dependencies": {"pad": "evil/x"}}'}
    await scene.hub.commit("stranger/demo", first, branch="mean")
    head = await scene.hub.commit(
        "stranger/demo",
        {"requirements.txt": "-r deps.txt\n", "deps.txt": "evil @ https://e.org/x.whl\n"},
        branch="mean",
    )
    await _reviewed(scene, trigger, Models(say={"review": approve}), tmp_path)
    (check,) = [it for it in scene.hub.check_runs(REPO, head) if it["name"] == "orchestrator/review"]
    said = [it["body"] for it in scene.hub.comments(REPO, number) if it["user"]["type"] == "Bot"][-1]
    assert check["conclusion"] == "failure"
    assert "New dependency: pad (npm): not of the index, but from evil/x" in said
    assert "New dependency: evil (PyPI): not of the index, but from https://e.org/x.whl" in said
    assert "New dependency: what `requirements.in` names was not looked up: requirements.in is not UTF-8." in said


async def test_sec_23_a_review_that_could_not_read_a_manifest_ends_all_the_same_and_wants_a_person_to_look(
    scene: Scene, tmp_path: Path
) -> None:
    def approve(_: CompletionRequest) -> Scripted:
        return json.dumps({"score": 0.9, "verdict": "approve", "findings": []})

    trigger, _, _ = await _pull(scene)
    head = await scene.hub.commit("stranger/demo", {"requirements.txt": b"flask # \xff\n"}, branch="mean")
    handled = await _reviewed(scene, trigger, Models(say={"review": approve}), tmp_path)
    (check,) = [it for it in scene.hub.check_runs(REPO, head) if it["name"] == "orchestrator/review"]
    assert (handled.status, check["conclusion"]) == ("completed", "action_required")
    assert check["output"]["title"].endswith("; not every new dependency was looked up")
