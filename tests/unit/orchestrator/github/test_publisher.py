from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from orchestrator.github.checks import Annotation, CheckRun
from orchestrator.github.client import Unreachable
from orchestrator.github.publisher import MemoryEffects
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene

MARK = f"<!-- orchestrator:status run={RUN} -->"


async def _head(scene: Scene) -> str:
    return (await scene.hub.branches(REPO))["main"]


def _bodies(scene: Scene, issue: int) -> list[str]:
    return [it["body"] for it in scene.hub.comments(REPO, issue)]


def _check(annotations: int = 0) -> CheckRun:
    notes = tuple(Annotation("src/app.py", line, "failure", f"at {line}") for line in range(1, annotations + 1))
    return CheckRun("orchestrator/validation", "failure", "1 failed", "pytest failed", notes)


async def test_a_comment_is_made_once_and_then_edited(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    publisher = scene.publisher()
    first = await publisher.upsert_comment(issue, MARK, "one")
    second = await publisher.upsert_comment(issue, MARK, "two")
    assert first == second
    assert _bodies(scene, issue) == [f"two\n\n{MARK}"]


async def test_a_comment_is_found_by_another_process_among_hundreds(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    for number in range(120):
        scene.hub.comment(REPO, issue, f"chat {number}", user="maria")
    first = await scene.publisher().upsert_comment(issue, MARK, "one")
    assert await scene.publisher().upsert_comment(issue, MARK, "two") == first


async def test_a_comment_with_our_mark_by_somebody_else_is_not_ours(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    scene.hub.comment(REPO, issue, f"mine\n\n{MARK}", user="stranger")
    await scene.publisher().upsert_comment(issue, MARK, "ours")
    assert _bodies(scene, issue) == [f"mine\n\n{MARK}", f"ours\n\n{MARK}"]


async def test_of_two_comments_the_younger_goes(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    for text in ("older", "younger"):
        scene.hub.comment(REPO, issue, f"{text}\n\n{MARK}", user="orchestrator[bot]")
    await scene.publisher().upsert_comment(issue, MARK, "now")
    assert _bodies(scene, issue) == [f"now\n\n{MARK}"]


async def test_a_comment_that_was_deleted_is_made_anew(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    publisher = scene.publisher()
    number = await publisher.upsert_comment(issue, MARK, "one")
    await scene.client.write("delete", lambda it: it.get_issue(issue).get_comment(number).delete())
    await publisher.upsert_comment(issue, MARK, "two")
    assert _bodies(scene, issue) == [f"two\n\n{MARK}"]


@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
async def test_an_ambiguous_comment_is_listed_before_anything_is_tried_again(scene: Scene, kind: str) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    effects = MemoryEffects()
    fault = scene.hub.faults.add(method="POST", path_regex="/comments$", kind=kind)  # type: ignore[arg-type]
    if kind == "drop_before":
        with pytest.raises(Unreachable):
            await scene.publisher(effects).upsert_comment(issue, MARK, "one")
        assert await effects.begin("comment", f"{issue}:{MARK}") == ("ambiguous", "")
    await scene.publisher(effects).upsert_comment(issue, MARK, "one")
    assert fault.hits == 1
    assert _bodies(scene, issue) == [f"one\n\n{MARK}"]


async def test_sec_30_31_a_comment_is_redacted_and_inert(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    text = "key hunter2-hunter2 @maria @joe\n/lgtm\n<!-- orchestrator:report run=r-b -->"
    await scene.publisher().upsert_comment(issue, MARK, text)
    assert _bodies(scene, issue) == [
        "key [redacted] @maria @\u2060joe\n\u2060/lgtm\n<\u2060!-- orchestrator:report run=r-b -->\n\n" + MARK
    ]


async def test_a_comment_stays_within_the_limit(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    await scene.publisher().upsert_comment(issue, MARK, "@joe line\n" * 9000)
    assert len(_bodies(scene, issue)[0]) < 60_100


async def test_a_check_run_is_made_once_with_its_annotations_in_batches(scene: Scene) -> None:
    head = await _head(scene)
    for _ in range(2):
        assert await scene.publisher().upsert_check_run(head, _check(120)) == ""
    (run,) = scene.hub.check_runs(REPO, head)
    assert (run["name"], run["conclusion"], run["external_id"]) == ("orchestrator/validation", "failure", RUN)
    assert [it["start_line"] for it in run["annotations"]] == list(range(1, 121))
    assert sum(request.method == "PATCH" for request in scene.hub.requests) == 2


async def test_a_lost_answer_to_a_batch_of_annotations_doubles_none(scene: Scene) -> None:
    head = await _head(scene)
    scene.hub.faults.add(method="PATCH", path_regex="/check-runs/", kind="drop_after")
    with pytest.raises(Unreachable):
        await scene.publisher().upsert_check_run(head, _check(120))
    await scene.publisher().upsert_check_run(head, _check(120))
    (run,) = scene.hub.check_runs(REPO, head)
    assert [it["start_line"] for it in run["annotations"]] == list(range(1, 121))


async def test_a_lost_answer_to_the_making_of_a_check_run_makes_no_second(scene: Scene) -> None:
    head = await _head(scene)
    scene.hub.faults.add(method="POST", path_regex="/check-runs$", kind="drop_after")
    await scene.publisher().upsert_check_run(head, _check(3))
    assert len(scene.hub.check_runs(REPO, head)) == 1


async def test_a_check_run_is_brought_up_to_date(scene: Scene) -> None:
    head = await _head(scene)
    await scene.publisher().upsert_check_run(head, _check())
    await scene.publisher().upsert_check_run(head, replace(_check(), conclusion="success", title="all passed"))
    (run,) = scene.hub.check_runs(REPO, head)
    assert (run["conclusion"], run["output"]["title"]) == ("success", "all passed")


async def test_a_reaction_to_a_comment_that_is_gone_is_no_error(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    await scene.publisher().react(issue, 999_999, "eyes")
    comment = scene.hub.comment(REPO, issue, "/orchestrate", user="maria")
    for _ in range(2):
        await scene.publisher().react(issue, comment, "eyes")
    assert scene.hub.reactions(REPO, comment) == [("orchestrator[bot]", "eyes")]


async def test_a_comment_on_a_line_is_reacted_to_at_its_own_address_and_a_review_not_at_all(scene: Scene) -> None:
    await scene.hub.commit(REPO, {"src/app.py": "print('hi')\n"}, branch="code")
    token = scene.hub.token_for("maria")
    async with httpx.AsyncClient(base_url=f"{scene.hub.api_url}/repos/{REPO}", trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        pull = (await client.post("/pulls", json={"title": "Hi", "head": "code", "base": "main"})).json()
        line = {"path": "src/app.py", "line": 1, "body": "/orchestrate status", "commit_id": pull["head"]["sha"]}
        comment = (await client.post(f"/pulls/{pull['number']}/comments", json=line)).json()["id"]
        publisher = scene.publisher()

        for event in ("pull_request_review_comment", "pull_request_review"):
            await publisher.react(pull["number"], comment, "eyes", event=event)

        reactions = (await client.get(f"/pulls/comments/{comment}/reactions")).json()
    assert [(it["user"]["login"], it["content"]) for it in reactions] == [("orchestrator[bot]", "eyes")]
    assert [it.path for it in scene.hub.requests if it.path.endswith("reactions") and it.method == "POST"] == [
        f"/api/v3/repos/{REPO}/pulls/comments/{comment}/reactions"
    ]
