"""The REST side, driven by PyGithub."""

from __future__ import annotations

import asyncio
from typing import Any

import github
import httpx2
import pytest
from github import InputGitTreeElement
from github.Repository import Repository

from bot.localhub import LocalHub


def client(hub: LocalHub, login: str, base: str | None = None) -> github.Github:
    token = github.Auth.Token(hub.token_for(login))
    return github.Github(
        base_url=base or hub.api_url, auth=token, retry=None, seconds_between_writes=0, seconds_between_requests=0
    )


def demo(hub: LocalHub, login: str = "alice") -> Repository:
    return client(hub, login).get_repo("octo/demo")


def propose(repo: Repository, branch: str = "orchestrator/1-x", text: str = "x = 2\n") -> Any:
    """Make blob, tree, commit, ref and pull request by the Git Data API."""
    base = repo.get_branch("main").commit
    blob = repo.create_git_blob(text, "utf-8")
    tree = repo.create_git_tree([InputGitTreeElement("src/demo.py", "100644", "blob", sha=blob.sha)], base.commit.tree)
    commit = repo.create_git_commit("Change x", tree, [base.commit])
    repo.create_git_ref(f"refs/heads/{branch}", commit.sha)
    return repo.create_pull(base="main", head=branch, title="Change x", body="Closes #1")


@pytest.mark.parametrize("prefix", ["/api/v3", ""])
async def test_pygithub_works_with_the_enterprise_prefix_and_without(hub: LocalHub, prefix: str) -> None:
    def work() -> tuple[str, str, list[str]]:
        gh = client(hub, "alice", hub.url + prefix)
        repo = gh.get_repo("octo/demo")
        contents = repo.get_contents("src")
        assert isinstance(contents, list)
        return gh.get_user().login, repo.default_branch, [entry.path for entry in contents]

    assert await asyncio.to_thread(work) == ("alice", "main", ["src/demo.py"])


@pytest.mark.parametrize(
    ("login", "legacy", "role"),
    [
        ("alice", "write", "write"),
        ("mallory", "read", "read"),
        ("tina", "read", "triage"),
        ("root", "admin", "admin"),
        ("octo", "admin", "admin"),
    ],
)
async def test_the_permission_api_gives_the_legacy_permission_and_the_role(
    hub: LocalHub, login: str, legacy: str, role: str
) -> None:
    headers = {"Authorization": f"token {hub.token_for('alice')}"}
    async with httpx2.AsyncClient(base_url=hub.api_url, headers=headers) as http:
        body = (await http.get(f"/repos/octo/demo/collaborators/{login}/permission")).json()

    assert (body["permission"], body["role_name"], body["user"]["login"]) == (legacy, role, login)


async def test_a_stranger_may_not_ask_for_permissions_and_an_unknown_user_is_404(hub: LocalHub) -> None:
    async with httpx2.AsyncClient(base_url=hub.api_url) as http:
        path = "/repos/octo/demo/collaborators"
        stranger = await http.get(f"{path}/alice/permission", headers=bearer(hub, "mallory"))
        unknown = await http.get(f"{path}/nobody/permission", headers=bearer(hub, "alice"))

    assert (stranger.status_code, unknown.status_code) == (403, 404)


def bearer(hub: LocalHub, login: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {hub.token_for(login)}"}


async def test_blob_tree_commit_ref_and_pull_request_land_in_the_real_repository(hub: LocalHub) -> None:
    def work() -> tuple[int, list[tuple[str, str, int, int]], int, bool]:
        pull = propose(demo(hub))
        files = [(file.filename, file.status, file.additions, file.deletions) for file in pull.get_files()]
        return pull.number, files, pull.commits, pull.get_commits()[0].commit.raw_data["verification"]["verified"]

    number, files, commits, verified = await asyncio.to_thread(work)

    assert (number, files, commits, verified) == (1, [("src/demo.py", "modified", 1, 3)], 1, False)
    assert (await hub.files("octo/demo", "orchestrator/1-x"))["src/demo.py"] == b"x = 2\n"
    assert [pull["head"]["ref"] for pull in hub.pull_requests("octo/demo")] == ["orchestrator/1-x"]


async def test_a_tree_adds_moves_and_deletes_on_its_base(hub: LocalHub) -> None:
    def work() -> dict[str, str]:
        repo = demo(hub)
        entries = [
            InputGitTreeElement("src/demo.py", "100644", "blob", sha=None),
            InputGitTreeElement("src/demo.py/inner.py", "100644", "blob", content="a = 1\n"),
            InputGitTreeElement("run.sh", "100755", "blob", content="#!/bin/sh\n"),
        ]
        tree = repo.create_git_tree(entries, repo.get_git_tree("main"))
        return {it.path: it.mode for it in repo.get_git_tree(tree.sha, recursive=True).tree if it.type == "blob"}

    assert await asyncio.to_thread(work) == {
        "README.md": "100644",
        "run.sh": "100755",
        "src/demo.py/inner.py": "100644",
    }


@pytest.mark.parametrize("path", ["../x", "a//b", ".git/config", "a/.GIT/x", "/etc/passwd", "", "a/./b"])
async def test_a_tree_with_a_malformed_path_is_422(hub: LocalHub, path: str) -> None:
    body = {"tree": [{"path": path, "mode": "100644", "type": "blob", "content": "x"}]}
    async with httpx2.AsyncClient(base_url=hub.api_url, headers=bearer(hub, "alice")) as http:
        answer = await http.post("/repos/octo/demo/git/trees", json=body)

    assert answer.status_code == 422


async def test_refs_answer_in_githubs_words(hub: LocalHub) -> None:
    def work() -> list[tuple[int, str]]:
        repo, said = demo(hub), []
        first = repo.get_branch("main").commit.sha
        pull = propose(repo)
        other = repo.create_git_commit("Other", repo.get_git_tree(first), [repo.get_git_commit(first)])
        attempts = (
            lambda: repo.create_git_ref(f"refs/heads/{pull.head.ref}", first),
            lambda: repo.get_git_ref(f"heads/{pull.head.ref}").edit(other.sha),
            lambda: repo.create_git_ref("refs/heads/new", "0" * 40),
            lambda: repo.get_git_ref("heads/absent"),
        )
        for attempt in attempts:
            with pytest.raises(github.GithubException) as caught:
                attempt()
            assert isinstance(caught.value.data, dict)
            said.append((caught.value.status, caught.value.data["message"]))
        repo.get_git_ref(f"heads/{pull.head.ref}").edit(other.sha, force=True)
        assert repo.get_pull(pull.number).head.sha == other.sha
        repo.get_git_ref(f"heads/{pull.head.ref}").delete()
        assert repo.get_pull(pull.number).state == "closed"
        return said

    assert await asyncio.to_thread(work) == [
        (422, "Reference already exists"),
        (422, "Update is not a fast forward"),
        (422, "Object does not exist"),
        (404, "Not Found"),
    ]


async def test_a_second_pull_request_and_one_without_commits_are_422(hub: LocalHub) -> None:
    def work() -> list[str]:
        repo, said = demo(hub), []
        propose(repo)
        repo.create_git_ref("refs/heads/empty", repo.get_branch("main").commit.sha)
        for head in ("orchestrator/1-x", "empty"):
            with pytest.raises(github.GithubException) as caught:
                repo.create_pull(base="main", head=head, title="Again")
            assert isinstance(caught.value.data, dict)
            said.append(caught.value.data["errors"][0]["message"])
        found = [pull.number for pull in repo.get_pulls(state="all", head="octo:orchestrator/1-x", base="main")]
        assert (found, repo.get_pulls(head="octo:other").totalCount) == ([1], 0)
        return said

    assert await asyncio.to_thread(work) == [
        "A pull request already exists for octo:orchestrator/1-x.",
        "No commits between main and empty",
    ]


async def test_twenty_creations_of_one_branch_at_once_make_it_once(hub: LocalHub) -> None:
    sha = (await hub.branches("octo/demo"))["main"]
    async with httpx2.AsyncClient(base_url=hub.api_url, headers=bearer(hub, "alice"), timeout=60) as http:
        body = {"ref": "refs/heads/same", "sha": sha}
        answers = await asyncio.gather(*(http.post("/repos/octo/demo/git/refs", json=body) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201, *[422] * 19]


async def test_comments_are_paged_over_a_hundred_and_edited_and_deleted(hub: LocalHub) -> None:
    number = hub.create_issue("octo/demo", "Many", user="alice")
    for at in range(205):
        hub.comment("octo/demo", number, f"comment {at}", user="alice")

    def work() -> tuple[int, str, int, int]:
        client_100 = github.Github(
            base_url=hub.api_url, auth=github.Auth.Token(hub.token_for("alice")), per_page=100, seconds_between_writes=0
        )
        issue = client_100.get_repo("octo/demo").get_issue(number)
        comments = list(issue.get_comments())
        comments[204].edit("changed")
        comments[0].delete()
        return len(comments), issue.get_comment(comments[204].id).body, issue.get_comments().totalCount, issue.comments

    assert await asyncio.to_thread(work) == (205, "changed", 204, 205)


async def test_the_link_header_names_prev_next_last_and_first(hub: LocalHub) -> None:
    for at in range(25):
        hub.create_issue("octo/demo", f"Issue {at}", user="alice")
    async with httpx2.AsyncClient(base_url=hub.api_url) as http:
        answer = await http.get("/repos/octo/demo/issues", params={"per_page": "10", "page": "2", "state": "all"})

    url = f"{hub.api_url}/repos/octo/demo/issues?per_page=10"
    assert answer.headers["link"] == (
        f'<{url}&page=1&state=all>; rel="prev", <{url}&page=3&state=all>; rel="next", '
        f'<{url}&page=3&state=all>; rel="last", <{url}&page=1&state=all>; rel="first"'
    )
    assert [issue["number"] for issue in answer.json()] == [15, 14, 13, 12, 11, 10, 9, 8, 7, 6]


async def test_the_same_reaction_twice_is_one_reaction(hub: LocalHub) -> None:
    number = hub.create_issue("octo/demo", "React", user="alice")
    comment = hub.comment("octo/demo", number, "/orchestrate", user="alice")
    path = f"/repos/octo/demo/issues/comments/{comment}/reactions"
    async with httpx2.AsyncClient(base_url=hub.api_url, headers=bearer(hub, "alice")) as http:
        first = await http.post(path, json={"content": "eyes"})
        second = await http.post(path, json={"content": "eyes"})
        wrong = await http.post(path, json={"content": "smile"})
        gone = await http.delete(f"{path}/{first.json()['id']}")
        left = (await http.get(path)).json()

    statuses = [answer.status_code for answer in (first, second, wrong, gone)]
    assert (statuses, first.json() == second.json(), left) == ([201, 200, 422, 204], True, [])


async def test_labels_are_made_when_added_and_assignees_come_and_go(hub: LocalHub) -> None:
    number = hub.create_issue("octo/demo", "Label me", user="alice")

    def work() -> tuple[list[str], list[str], list[str], str]:
        issue = demo(hub).get_issue(number)
        issue.add_to_labels("bug", "orchestrate")
        issue.remove_from_labels("bug")
        issue.add_to_assignees("alice", "root")
        issue.remove_from_assignees("root")
        issue.edit(state="closed", state_reason="not_planned")
        labels = [label.name for label in issue.get_labels()]
        issue.update()
        assignees = [user.login for user in issue.assignees]
        return labels, assignees, [it.name for it in issue.labels], issue.state_reason or ""

    assert await asyncio.to_thread(work) == (["orchestrate"], ["alice"], ["orchestrate"], "not_planned")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/repos/octo/demo/git/refs", {"ref": "refs/heads/x", "sha": "0" * 40}, 404),
        ("POST", "/repos/octo/demo/issues/1/labels", {"labels": ["bug"]}, 403),
        ("POST", "/repos/octo/demo/issues", {"title": "Mine"}, 201),
        ("POST", "/repos/octo/demo/issues", {"title": " "}, 422),
        ("POST", "/repos/octo/demo/issues", {}, 422),
        ("POST", "/repos/octo/demo/issues", [], 400),
        ("PATCH", "/repos/octo/demo/issues/1", {"state": "closed"}, 403),
        ("POST", "/repos/octo/demo/issues/1/comments", {"body": "x" * 65_537}, 422),
        ("POST", "/repos/octo/demo/issues/99/comments", {"body": "x"}, 404),
        ("GET", "/repos/octo/absent", None, 404),
        ("GET", "/repos/octo/demo/no/such/thing", None, 404),
        ("GET", "/repos/octo/demo/contents/absent.md", None, 404),
        ("GET", "/repos/octo/demo/commits/absent", None, 422),
        ("GET", "/repos/octo/demo/branches/--help", None, 404),
    ],
)
async def test_somebody_without_a_role_gets_what_github_answers(
    hub: LocalHub, method: str, path: str, body: Any, status: int
) -> None:
    hub.create_issue("octo/demo", "Not mallory's", user="alice")
    async with httpx2.AsyncClient(base_url=hub.api_url, headers=bearer(hub, "mallory")) as http:
        answer = await http.request(method, path, json=body)

    assert answer.status_code == status
    assert answer.headers["x-ratelimit-limit"] == "5000"
    if status >= 400:
        assert answer.json()["status"] == str(status)


async def test_nobody_may_write_and_a_wrong_token_is_401(hub: LocalHub) -> None:
    async with httpx2.AsyncClient(base_url=hub.api_url) as http:
        anonymous = await http.post("/repos/octo/demo/issues", json={"title": "x"})
        wrong = await http.get("/user", headers={"Authorization": "Bearer ghp_wrong"})
        broken = await http.get("/user", headers={"Authorization": "Basic ???"})

    assert (anonymous.status_code, wrong.json()["message"], broken.status_code) == (401, "Bad credentials", 401)


async def test_a_private_repository_does_not_exist_for_outsiders(hub: LocalHub) -> None:
    await hub.create_repository("octo/secret", {"a": "b"}, private=True)
    hub.set_permission("octo/secret", "alice", "read")
    async with httpx2.AsyncClient(base_url=hub.api_url) as http:
        answers = [
            await http.get("/repos/octo/secret", headers=headers)
            for headers in ({}, bearer(hub, "mallory"), bearer(hub, "alice"))
        ]

    assert [answer.status_code for answer in answers] == [404, 404, 200]


async def test_a_review_comments_on_lines_of_the_diff_only(hub: LocalHub) -> None:
    def work() -> tuple[list[tuple[str, int]], str, list[str], str]:
        pull = propose(demo(hub))
        reviewer = demo(hub, "root").get_pull(pull.number)
        note: Any = {"path": "src/demo.py", "line": 1, "body": "Why?"}
        reviewer.create_review(body="Please", event="REQUEST_CHANGES", comments=[note])
        with pytest.raises(github.GithubException) as caught:
            reviewer.create_review(body="No", event="COMMENT", comments=[note | {"line": 77}])
        with pytest.raises(github.GithubException) as own:
            pull.create_review(event="APPROVE")
        assert own.value.status == 422
        assert isinstance(caught.value.data, dict)
        comments = [(comment.path, comment.raw_data["line"]) for comment in pull.get_review_comments()]
        diff = demo(hub)._requester.requestJsonAndCheck  # the raw diff needs another Accept header
        raw = diff("GET", pull.url, headers={"Accept": "application/vnd.github.diff"})[1]
        states = [review.state for review in pull.get_reviews()]
        return comments, caught.value.data["errors"][0], states, raw["data"][:37]

    assert await asyncio.to_thread(work) == (
        [("src/demo.py", 1)],
        "Line could not be resolved",
        ["CHANGES_REQUESTED"],
        "diff --git a/src/demo.py b/src/demo.p",
    )


async def test_a_pull_request_is_merged_and_closes_its_issue(hub: LocalHub) -> None:
    number = hub.create_issue("octo/demo", "First", user="alice")
    assert number == 1

    def work() -> tuple[bool, bool | None, str, str]:
        repo = demo(hub)
        pull = propose(repo)
        mergeable = pull.mergeable
        merged = pull.merge().merged
        return merged, mergeable, repo.get_issue(1).state, repo.get_contents("src/demo.py").decoded_content.decode()  # type: ignore[union-attr]

    assert await asyncio.to_thread(work) == (True, True, "closed", "x = 2\n")


async def test_a_fork_proposes_to_its_source_and_its_pushes_move_the_pull_request(hub: LocalHub) -> None:
    await hub.fork("octo/demo", "mallory")
    await hub.commit("mallory/demo", {"new.py": "a = 1\n"}, branch="work", user="mallory")

    def work() -> tuple[str, list[str]]:
        pull = demo(hub, "mallory").create_pull(base="main", head="mallory:work", title="From a fork")
        return pull.head.repo.full_name, [file.filename for file in pull.get_files()]

    assert await asyncio.to_thread(work) == ("mallory/demo", ["new.py"])
    sha = await hub.commit("mallory/demo", {"more.py": "b = 1\n"}, branch="work", user="mallory")
    assert [pull["head"]["sha"] for pull in hub.pull_requests("octo/demo")] == [sha]


async def test_compare_counts_from_the_merge_base(hub: LocalHub) -> None:
    await hub.commit("octo/demo", {"b.py": "b\n"}, branch="side")
    await hub.commit("octo/demo", {"c.py": "c\n"})

    def work() -> tuple[str, int, int, list[str]]:
        found = demo(hub).compare("main", "side")
        return found.status, found.ahead_by, found.behind_by, [file.filename for file in found.files]

    assert await asyncio.to_thread(work) == ("diverged", 1, 1, ["b.py"])


async def test_a_draft_becomes_ready_by_graphql(hub: LocalHub) -> None:
    def work() -> tuple[bool, bool]:
        repo = demo(hub)
        propose(repo).edit(state="closed")
        pull = repo.create_pull(base="main", head="orchestrator/1-x", title="Draft", draft=True)
        before = pull.draft
        pull.mark_ready_for_review()
        return before, repo.get_pull(pull.number).draft

    assert await asyncio.to_thread(work) == (True, False)


async def test_commit_statuses_combine_the_newest_of_each_context(hub: LocalHub) -> None:
    def work() -> tuple[str, int, list[str]]:
        commit = demo(hub).get_commit("main")
        commit.create_status("pending", context="orchestrator/budget")
        commit.create_status("success", context="orchestrator/budget", description="$0.10 of $8.00")
        commit.create_status("success", context="orchestrator/review")
        combined = commit.get_combined_status()
        return combined.state, combined.total_count, [status.state for status in commit.get_statuses()]

    assert await asyncio.to_thread(work) == ("success", 2, ["success", "success", "pending"])
