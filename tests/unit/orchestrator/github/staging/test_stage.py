"""The stage beside the local GitHub: the same writes, then the same reads, must tell the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from github.Repository import Repository

from orchestrator.github.api.client import RepositoryClient
from orchestrator.github.api.publisher import MemoryEffects, Publisher
from orchestrator.github.api.pull_requests import add_labels, find_pull_request, open_pull_request
from orchestrator.github.api.repository import branches_under, commit_files, head_of, is_commit_of
from orchestrator.github.rendering.checks import Annotation, CheckRun
from orchestrator.github.rendering.commits import commit_message
from orchestrator.github.rendering.sanitize import Redactor
from orchestrator.github.runs.rehearsal import MemoryPreviews, StagedEffects, rehearse, says_staged
from orchestrator.github.staging.preview import Preview
from orchestrator.github.staging.shapes import FIRST_ID, Shapes
from orchestrator.github.staging.stage import Answer, Stage
from tests.unit.orchestrator.github.conftest import REPO, RUN, Scene

BRANCH = "orchestrator/1-x"
MARK = f"<!-- orchestrator:status run={RUN} -->"
CHANGES = {"src/new.py": b"x = 1\n", "README.md": None, "src/app.py": b"print('bye')\n", "logo.png": b"\x00\x01"}
NOTES = tuple(Annotation("src/app.py", line, "failure", f"finding {line}") for line in range(1, 121))
CHECK = CheckRun("orchestrator/review", "failure", "120 findings", "See below.", NOTES)


async def _staged(scene: Scene, previews: MemoryPreviews) -> RepositoryClient:
    client = scene.github.repository(REPO, scene.installation)
    await rehearse(client, scene.github, previews, scene.installation)
    return client


def _publisher(client: RepositoryClient, effects: MemoryEffects | StagedEffects | None = None) -> Publisher:
    return Publisher(
        client,
        run_id=RUN,
        redactor=Redactor([]),
        effects=effects or MemoryEffects(),
        login="orchestrator[bot]",
        requester="maria",
    )


async def _commit(client: RepositoryClient, changes: Mapping[str, bytes | None]) -> str:
    base = await head_of(client, "main")
    assert base is not None
    message = commit_message("Build it", "", RUN, skip_checks=False)
    return await commit_files(
        client, base_sha=base, branch=BRANCH, changes=changes, message=message, run_id=RUN, pushes=MemoryEffects()
    )


async def _walk(client: RepositoryClient, issue: int) -> dict[str, Any]:
    """Do what a run and a second round do on GitHub, and return all that can be read of it."""
    publisher = _publisher(client)
    await publisher.react(issue, None, "eyes")
    comment = await publisher.upsert_comment(issue, MARK, "Working")
    head = await _commit(client, CHANGES)
    pull = await open_pull_request(client, head=BRANCH, base="main", title="T", body="B", draft=True)
    assert pull.number is not None
    await add_labels(client, pull.number, ("bug",))
    await publisher.upsert_check_run(head, CHECK)
    second = await _commit(client, CHANGES | {"src/new.py": b"x = 2\n"})
    again = await open_pull_request(client, head=BRANCH, base="main", title="T2", body="B2", draft=True)
    await publisher.upsert_comment(pull.number, MARK.replace("status", "report"), "Report")
    same = await publisher.upsert_comment(issue, MARK, "Done")
    return await _read(client, issue, head, second) | {
        "one comment": comment == same,
        "one pull request": pull.number == again.number,
        "moved": head != second,
    }


async def _read(client: RepositoryClient, issue: int, head: str, second: str) -> dict[str, Any]:
    found = await find_pull_request(client, head=BRANCH)
    assert found is not None
    number = found.number

    def runs(repository: Repository) -> list[tuple[Any, ...]]:
        listed = repository.get_commit(head).get_check_runs(check_name=CHECK.name, filter="all")
        return [
            (it.name, it.status, it.conclusion, it.external_id, it.output.title, it.output.annotations_count)
            for it in listed
        ]

    def files(repository: Repository) -> list[tuple[str, str, str]]:
        tree = repository.get_git_tree(repository.get_git_commit(second).tree.sha, recursive=True)
        return sorted((it.path, it.mode, it.sha) for it in tree.tree if it.type == "blob")

    async def read(call: Callable[[Repository], Any]) -> Any:
        return await client.read("look", call)

    return {
        "branches": list(await branches_under(client, "orchestrator/")),
        "stands": await head_of(client, BRANCH) == second,
        "trailer": await is_commit_of(client, second, RUN),
        "parents": await read(lambda it: [one.sha == head for one in it.get_git_commit(second).parents]),
        "files": await read(files),
        "pull request": (found.number, found.title, found.body, found.draft, found.state, found.head.sha == second),
        "by number": await read(lambda it: it.get_pull(number).title),
        "closed ones": await find_pull_request(client, head=BRANCH, state="closed"),
        "comments": await read(lambda it: [one.body for one in it.get_issue(issue).get_comments()]),
        "report": await read(lambda it: [(one.body, one.user.login) for one in it.get_issue(number).get_comments()]),
        "check runs": await read(runs),
        "of the second head": await read(lambda it: it.get_commit(second).get_check_runs().totalCount),
    }


async def test_a_walk_on_the_stage_reads_like_the_same_walk_on_github_which_has_none_of_it(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "Sample", user="maria")
    scene.hub.comment(REPO, issue, "/orchestrate", user="maria")
    previews = MemoryPreviews()
    client = await _staged(scene, previews)
    before = len(scene.hub.requests)

    staged = await _walk(client, issue)

    sent = [(it.method, it.path.rpartition("/")[2]) for it in scene.hub.requests[before:] if it.method != "GET"]
    assert sent == [("POST", "access_tokens")]
    real = await _walk(scene.client, issue)
    assert staged == real
    assert real["comments"] == ["/orchestrate", f"Done\n\n{MARK}"]
    assert real["check runs"][0][5] == 120


async def test_what_was_staged_is_there_for_the_process_that_goes_on_and_is_not_written_twice(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "Sample", user="maria")
    previews, effects = MemoryPreviews(), MemoryEffects()
    first = await _staged(scene, previews)
    publisher = _publisher(first, StagedEffects(effects))
    await publisher.react(issue, None, "eyes")
    comment = await publisher.upsert_comment(issue, MARK, "Working")
    head = await _commit(first, CHANGES)
    await publisher.upsert_check_run(head, CHECK)
    kept = len(previews.texts)

    # One process lost what it knew of its effects, the other did not.
    for known in (StagedEffects(effects), MemoryEffects()):
        later = await _staged(scene, previews)
        publisher = _publisher(later, known)
        await publisher.react(issue, None, "eyes")
        assert await publisher.upsert_comment(issue, MARK, "Working") == comment
        assert await _commit(later, CHANGES) == head
        await publisher.upsert_check_run(head, CHECK)
    assert len(previews.texts) == kept


async def test_effects_on_the_stage_do_not_count_as_real_ones() -> None:
    effects = MemoryEffects()
    staged = StagedEffects(effects)
    await staged.begin("comment", "1")
    await staged.done("comment", "1", "7")
    assert await staged.begin("comment", "1") == ("done", "7")
    assert await effects.begin("comment", "1") == ("new", "")


async def test_the_diff_of_a_tree_stands_in_its_preview(scene: Scene) -> None:
    previews = MemoryPreviews()
    await _commit(await _staged(scene, previews), CHANGES)
    (tree,) = [it for it in map(Preview.from_json, previews.texts) if it.path.endswith("/git/trees")]
    assert tree.diff == (
        "--- a/README.md\n+++ /dev/null\n@@ -1 +0,0 @@\n-# Demo\n"
        "--- /dev/null\n+++ b/logo.png\n(a binary file)\n"
        "--- a/src/app.py\n+++ b/src/app.py\n@@ -1 +1 @@\n-print('hello')\n+print('bye')\n"
        "--- /dev/null\n+++ b/src/new.py\n@@ -0,0 +1 @@\n+x = 1\n"
    )


async def test_what_is_real_can_be_changed_and_deleted_on_the_stage_alone(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "Sample", user="maria")
    kept, gone = (scene.hub.comment(REPO, issue, text, user="maria") for text in ("first", "second"))
    client = await _staged(scene, MemoryPreviews())

    await client.write("edit", lambda it: it.get_issue(issue).get_comment(kept).edit("changed"))
    await client.write("delete", lambda it: it.get_issue(issue).get_comment(gone).delete())

    listed = await client.read("list", lambda it: [one.body for one in it.get_issue(issue).get_comments()])
    assert listed == ["changed"]
    assert await client.read("read", lambda it: it.get_issue(issue).get_comment(kept).body) == "changed"
    assert [it["body"] for it in scene.hub.comments(REPO, issue)] == ["first", "second"]


async def test_a_write_that_nobody_foresaw_is_staged_too(scene: Scene) -> None:
    issue = scene.hub.create_issue(REPO, "Sample", user="maria")
    previews = MemoryPreviews()
    client = await _staged(scene, previews)

    async def write(what: str, call: Callable[[Repository], Any]) -> None:
        await client.write(what, call)

    wanted: list[Callable[[Repository], Any]] = [
        lambda it: it.get_issue(issue).edit(state="closed"),
        lambda it: it.get_issue(issue).lock("resolved"),
        lambda it: it.create_label("x", "ffffff"),
        lambda it: it.requester.graphql_query(
            "mutation Resolve($thread: ID!) { resolveReviewThread(input: {threadId: $thread}) { thread { id } } }",
            {"thread": "t"},
        ),
        lambda it: it.requester.withLazy(False).requestJsonAndCheck("DELETE", f"{it.url}/git/refs/heads/main"),
        lambda it: it.requester.requestJsonAndCheck("PUT", f"{it.url}/contents/x", input={"content": "eA=="}),
    ]
    before = len(scene.hub.requests)
    for call in wanted:
        await write("do it", call)

    assert [it.path for it in scene.hub.requests[before:] if it.method != "GET" and "tokens" not in it.path] == []
    made = [(it.method, it.path.removeprefix(f"/repos/{REPO}")) for it in map(Preview.from_json, previews.texts)]
    assert made == [
        ("PATCH", f"/issues/{issue}"),
        ("PUT", f"/issues/{issue}/lock"),
        ("POST", "/labels"),
        ("POST", "/graphql"),
        ("DELETE", "/git/refs/heads/main"),
        ("PUT", "/contents/x"),
    ]


async def test_an_error_of_githubs_stays_one(scene: Scene) -> None:
    client = await _staged(scene, MemoryPreviews())
    with pytest.raises(Exception, match=r"404"):
        await client.read("read it", lambda it: it.get_issue(99).get_comments().totalCount)


def test_what_was_staged_stands_on_the_last_page_which_github_names_by_number() -> None:
    stage = Stage(Shapes(REPO, "orchestrator[bot]", "https://api.example.org", "https://example.org"))
    next_page = {"link": '<https://api.example.org/repositories/12/issues/1/comments?page=2>; rel="next"'}
    pages: dict[str, Answer] = {"1": (200, next_page, [{"body": "a"}]), "2": (200, {}, [{"body": "b"}])}
    stage.answer("POST", f"/repos/{REPO}/issues/1/comments", {}, {"body": "c"}, lambda *_: pages["1"])

    def read(path: str, page: str) -> list[str]:
        _, _, listed = stage.answer("GET", path, {"page": page}, None, lambda _, query: pages[str(query["page"])])
        return [it["body"] for it in listed]

    assert read(f"/repos/{REPO}/issues/1/comments", "1") == ["a"]
    assert read("/repositories/12/issues/1/comments", "2") == ["b", "c"]


def test_ids_on_the_stage_can_name_nothing_real_and_grow() -> None:
    stage = Stage(Shapes(REPO, "orchestrator[bot]", "https://api.example.org", "https://example.org"))
    made = [
        stage.answer("POST", f"/repos/{REPO}/issues/1/comments", {}, {"body": "x"}, lambda *_: (200, {}, []))[2]["id"]
        for _ in range(50)
    ]
    assert made == sorted(set(made))
    assert FIRST_ID < made[0] <= made[-1] < 2**53


@pytest.mark.parametrize(
    ("spec", "staged"),
    [
        ("", False),
        ("github:\n  staged: true\n", True),
        ("github: {staged: true}\n", True),
        ("github:\n  staged: false\n", False),
        # What cannot be read as a whole counts by what it says.
        ("github:\n  staged: true\n  labls: [x]\n", True),
        ("github: {staged: true, labls: [x]}\n", True),
        ("github:\n  staged: true\n   broken: [", True),
        ("github:\n  labls: [x]\n", False),
        ("# staged: true\nlabls: 1\n", False),
    ],
)
def test_a_spec_says_whether_it_is_staged_even_when_it_is_broken(spec: str, staged: bool) -> None:
    assert says_staged(spec) is staged
