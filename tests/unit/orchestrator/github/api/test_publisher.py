from __future__ import annotations

from copy import copy
from dataclasses import replace

import httpx
import pytest

from bot.localhub.state import CheckSuite
from orchestrator.github.api.client import Unreachable
from orchestrator.github.api.publisher import MemoryEffects
from orchestrator.github.api.repository import branches_under
from orchestrator.github.rendering.checks import NAMES, RETRY_FAILED, Annotation, CheckRun, RunningCheck
from orchestrator.github.rendering.permissions import missing_permission
from orchestrator.github.runs.live import end_rounds, show_round
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene
from tests.unit.orchestrator.github.states import running

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


async def test_other_words_under_the_same_title_are_written_too(scene: Scene) -> None:
    head = await _head(scene)
    for summary in ("pytest failed", "pytest failed", "ruff failed"):
        await scene.publisher().upsert_check_run(head, replace(_check(), summary=summary))
    (run,) = scene.hub.check_runs(REPO, head)
    assert run["output"]["summary"] == "ruff failed"
    assert sum(request.method == "PATCH" for request in scene.hub.requests) == 1


async def test_a_check_run_that_was_asked_for_again_is_written_also_where_it_ends_the_same(scene: Scene) -> None:
    head = await _head(scene)
    (suite,) = await _asked_again(scene, head)
    await scene.publisher().upsert_check_run(head, _check(3))
    assert suite.waits
    await scene.publisher().upsert_check_run(head, _check(3), again=True)
    assert not suite.waits
    await _asked_again(scene, head)
    await scene.publisher().repeat_check_run(head, "orchestrator/validation", shared=False)
    (run,) = scene.hub.check_runs(REPO, head)
    assert (suite.waits, run["conclusion"], run["output"]["title"], len(run["annotations"])) == (
        False,
        "failure",
        "1 failed",
        3,
    )


async def _asked_again(scene: Scene, head: str) -> list[CheckSuite]:
    await scene.publisher().upsert_check_run(head, _check(3))
    (run,) = scene.hub.check_runs(REPO, head)
    scene.hub.rerequest_check_run(REPO, run["id"], user="maria")
    return list(scene.hub.repository(REPO).check_suites.values())


async def test_a_reaction_to_a_comment_that_is_gone_is_no_error(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    await scene.publisher().react(issue, 999_999, "eyes")
    comment = scene.hub.comment(REPO, issue, "/orchestrate", user="maria")
    for _ in range(2):
        await scene.publisher().react(issue, comment, "eyes")
    assert scene.hub.reactions(REPO, comment) == [("orchestrator[bot]", "eyes")]


# rounds on a head that exists

ROUND = RunningCheck("orchestrator/validation", "3/7 tasks · $0.91 of $5.00", "Working.")


async def test_a_check_run_goes_in_progress_again_and_the_same_one_is_concluded(scene: Scene) -> None:
    head, publisher = await _head(scene), scene.publisher()
    await publisher.upsert_check_run(head, _check(2))
    assert await publisher.progress_check_run(head, ROUND) == ""
    (working,) = scene.hub.check_runs(REPO, head)
    assert (working["status"], working["conclusion"]) == ("in_progress", None)
    assert working["output"]["title"] == "3/7 tasks · $0.91 of $5.00"

    await publisher.upsert_check_run(head, replace(_check(3), conclusion="success", title="all passed"))
    (ended,) = scene.hub.check_runs(REPO, head)
    assert (ended["id"], ended["status"], ended["conclusion"]) == (working["id"], "completed", "success")
    assert [it["start_line"] for it in ended["annotations"]] == [1, 2, 3]


async def test_a_check_run_that_says_the_same_is_not_written_again(scene: Scene) -> None:
    head, publisher = await _head(scene), scene.publisher()
    for title in ("3/7 tasks", "3/7 tasks", "4/7 tasks"):
        await publisher.progress_check_run(head, replace(ROUND, title=title))
    assert [it.method for it in scene.hub.requests if "/check-runs" in it.path and it.method != "GET"] == [
        "POST",
        "PATCH",
        "PATCH",
    ]
    assert [it["output"]["title"] for it in scene.hub.check_runs(REPO, head)] == ["4/7 tasks"]


async def test_a_round_that_ends_elsewhere_leaves_no_check_run_open_and_none_of_others_touched(scene: Scene) -> None:
    head, effects = await _head(scene), MemoryEffects()
    await scene.publisher().of_run("r-b", MemoryEffects()).progress_check_run(head, ROUND)
    publisher = scene.publisher(effects)
    await show_round(publisher, running(), head, NAMES)
    opened = [it for it in scene.hub.check_runs(REPO, head) if it["external_id"] == RUN]
    assert {(it["status"], it["output"]["title"]) for it in opened} == {("in_progress", "1/2 tasks · $0.91 of $5.00")}
    await publisher.upsert_check_run(head, _check())

    # Another process ends it, which knows of the round only what was noted.
    await end_rounds(scene.publisher(effects), "failure", "Failed", "The bot ran into an internal failure.")
    writes = len([it for it in scene.hub.requests if it.method in ("POST", "PATCH")])
    await end_rounds(scene.publisher(effects), "failure", "Failed", "again")

    assert len([it for it in scene.hub.requests if it.method in ("POST", "PATCH")]) == writes
    ended = {it["name"]: it["output"]["title"] for it in scene.hub.check_runs(REPO, head) if it["external_id"] == RUN}
    assert ended == {
        "orchestrator/budget": "Failed",
        "orchestrator/review": "Failed",
        "orchestrator/architecture": "Failed",
        "orchestrator/validation": "1 failed",
    }
    (theirs,) = (it for it in scene.hub.check_runs(REPO, head) if it["external_id"] == "r-b")
    assert theirs["status"] == "in_progress"


async def test_buttons_are_sent_where_a_press_is_heard_and_taken_away_with_the_next_round(scene: Scene) -> None:
    head = await _head(scene)
    offered = replace(_check(), buttons=(RETRY_FAILED,))
    for name, heard in (("orchestrator/a", True), ("orchestrator/b", False)):
        await scene.publisher(buttons=heard).upsert_check_run(head, replace(offered, name=name))
    assert {it["name"]: [one["identifier"] for one in it["actions"]] for it in scene.hub.check_runs(REPO, head)} == {
        "orchestrator/a": ["retry_failed"],
        "orchestrator/b": [],
    }
    done = CheckRun("orchestrator/a", "success", "all passed", "pytest passed")
    await scene.publisher(buttons=True).upsert_check_run(head, done)
    assert {it["name"]: it["actions"] for it in scene.hub.check_runs(REPO, head)} == {
        "orchestrator/a": [],
        "orchestrator/b": [],
    }


# tokens that may not write checks


def _narrow(scene: Scene, *permissions: str) -> None:
    levels = {"contents": "write", "issues": "write", **dict.fromkeys(permissions, "write")}
    scene.github.app, scene.github.given_token = None, scene.hub.workflow_token(REPO, levels)
    scene.client = scene.github.repository(REPO)


async def test_without_the_permission_there_is_one_pending_status_and_then_the_result(scene: Scene) -> None:
    head = await _head(scene)
    _narrow(scene, "statuses")
    publisher = scene.publisher(login="github-actions[bot]")
    for title in ("1/7 tasks", "2/7 tasks"):
        note = await publisher.progress_check_run(head, replace(ROUND, title=title))
    assert note == (
        "The token lacks the permission `checks: write`, so the check runs are commit statuses. "
        "Add `checks: write` under `permissions:` of the workflow."
    )
    assert [(it["state"], it["description"]) for it in scene.hub.statuses(REPO)] == [("pending", "1/7 tasks")]
    for _ in range(2):
        await publisher.end_check_run(head, CheckRun("orchestrator/validation", "failure", "Failed", "It failed."))
    assert [it["state"] for it in scene.hub.statuses(REPO)] == ["pending", "failure"]


async def test_without_either_permission_nothing_fails_and_both_lines_are_named(scene: Scene) -> None:
    head = await _head(scene)
    _narrow(scene)
    publisher = scene.publisher(login="github-actions[bot]")
    note = await publisher.upsert_check_run(head, _check())
    assert note.startswith(
        "The token lacks the permission `checks: write` and `statuses: write`, so the check runs are"
    )
    assert note.endswith("Add `checks: write` and `statuses: write` under `permissions:` of the workflow.")
    await publisher.end_check_run(head, _check())
    assert scene.hub.statuses(REPO) == []


def test_an_apps_page_and_a_persons_way_out_are_named() -> None:
    of_app = missing_permission("orchestrator[bot]", "https://ghes.example", ("checks",))
    assert "at https://ghes.example/settings/apps/orchestrator/permissions, and accept that" in of_app
    assert "use an App, or a workflow's own token" in missing_permission("maria", "https://github.com", ("checks",))


# found again among many


async def test_the_status_comment_is_found_behind_hundreds_of_others_and_never_a_strangers(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "A", user="maria")
    for number in range(130):
        scene.hub.comment(REPO, issue, f"chat {number}\n\n{MARK}" if number == 40 else f"chat {number}", user="maria")
    first = await scene.publisher().upsert_comment(issue, MARK, "one")
    for number in range(80):
        scene.hub.comment(REPO, issue, f"more {number}", user="stranger")
    assert await scene.publisher().upsert_comment(issue, MARK, "two") == first
    assert [body for body in _bodies(scene, issue) if body.endswith(MARK)] == [f"chat 40\n\n{MARK}", f"two\n\n{MARK}"]


async def test_a_check_run_is_found_behind_hundreds_of_others_of_its_name(scene: Scene) -> None:
    head = await _head(scene)
    await scene.publisher().upsert_check_run(head, _check())
    (ours,) = scene.hub.repository(REPO).check_runs.values()
    for number in range(1, 131):
        theirs = copy(ours)
        theirs.id, theirs.external_id = ours.id + 1000 + number, f"r-{number}"
        scene.hub.repository(REPO).check_runs[theirs.id] = theirs
    await scene.publisher().upsert_check_run(head, replace(_check(), conclusion="success", title="all passed"))
    assert (len(scene.hub.check_runs(REPO, head)), ours.conclusion) == (131, "success")


async def test_branches_are_found_behind_hundreds_of_others(scene: Scene) -> None:
    head, refs = await _head(scene), scene.hub.repository(REPO).path / "refs" / "heads" / "orchestrator"
    refs.mkdir()
    for name in (*(f"1-a-{number:03}" for number in range(130)), "1-z"):
        (refs / name).write_text(f"{head}\n")
    found = await branches_under(scene.client, "orchestrator/1-")
    assert (len(found), found[-1]) == (131, "orchestrator/1-z")


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
