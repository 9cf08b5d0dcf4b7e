"""REST: pull requests, their files, commits and requested reviewers."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from bot.localhub import render, render_code, render_git
from bot.localhub.call import ApiError, Call, Routes, answer, invalid, not_found
from bot.localhub.git import Git
from bot.localhub.rest_issues import checked_body, people, texts
from bot.localhub.state import Issue, Pull, Repository, now

routes = Routes()

PULLS = "/repos/{owner}/{repo}/pulls"
PULL = PULLS + "/{number:int}"


def find_pull(call: Call, role: str = "read") -> tuple[Repository, Issue, Pull]:
    """Return the pull request of the path; 404 when that number is none."""
    repo = call.repo(role, "pull_requests")
    issue = call.issue(repo)
    if issue.pull is None:
        raise not_found()
    return repo, issue, issue.pull


async def fork_point(git: Git, pull: Pull) -> str:
    """Return where the head left the base, from which a pull request's diff counts."""
    return await git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha


async def _full(call: Call, repo: Repository, issue: Issue, pull: Pull) -> Any:
    git = call.git(repo)
    changes = await git.changes(await fork_point(git, pull), pull.head_sha)
    commits = await git.log(f"{pull.base_sha}..{pull.head_sha}")
    mergeable = await git.merge_tree(pull.base_sha, pull.head_sha) is not None
    return render_code.full_pull(call.base, repo, issue, pull, changes, len(commits), mergeable)


@routes("GET", PULLS)
async def list_pulls(call: Call) -> Response:
    """List pull requests by state, head (`owner:branch`) and base, the newest first."""
    repo = call.repo(permission="pull_requests")
    state, head, base = call.query("state", "open"), call.query("head"), call.query("base")

    def label(pull: Pull) -> str:
        return f"{pull.head_repository.owner.login}:{pull.head_ref}"

    found = [
        (issue, issue.pull)
        for issue in repo.issues.values()
        if issue.pull
        and state in ("all", issue.state)
        # Without an owner GitHub ignores the filter.
        and (":" not in head or label(issue.pull).lower() == head.lower())
        and base in ("", issue.pull.base_ref)
    ]
    found.sort(key=lambda pair: pair[0].number, reverse=call.query("direction", "desc") == "desc")
    return call.page(found, lambda pair: render_code.pull(call.base, repo, *pair))


@routes("POST", PULLS)
async def create_pull(call: Call) -> Response:
    """Open a pull request from a branch here or in a fork."""
    repo = call.repo("read", "pull_requests")
    title, head, base = call.needed("title", str), call.needed("head", str), call.needed("base", str)
    body = checked_body(call.field("body", str), "PullRequest")
    owner, _, branch = head.rpartition(":")
    head_repo = _head_repository(call, repo, owner)
    if not call.actor.may(head_repo, "write", "pull_requests", "write"):
        raise not_found()
    base_sha = await call.git(repo).ref(f"refs/heads/{base}")
    head_sha = await call.git(head_repo).ref(f"refs/heads/{branch}")
    for name, sha in (("head", head_sha), ("base", base_sha)):
        if sha is None:
            raise invalid("PullRequest", name)
    pull = Pull(
        call.world.state.next_id(),
        head_repo,
        branch,
        head_sha or "",
        base,
        base_sha or "",
        draft=call.field("draft", bool, False) or False,
    )
    _refuse_second(repo, pull)
    call.user()
    probe = Issue(0, max(repo.issues, default=0) + 1, call.user(), title, body, pull=pull)
    await call.world.keep_head(repo, probe)
    if not await call.git(repo).log(f"{pull.base_sha}..{pull.head_sha}", count=1):
        raise _refusal(f"No commits between {base} and {branch}")
    issue = call.world.open_pull(repo, call.actor, title, body, pull)
    return answer(await _full(call, repo, issue, pull), 201)


def _head_repository(call: Call, repo: Repository, owner: str) -> Repository:
    if owner.lower() in ("", repo.owner.login.lower()):
        return repo
    for other in call.world.state.repositories.values():
        if other.owner.login.lower() == owner.lower() and other.fork_of is repo:
            return other
    raise invalid("PullRequest", "head")


def _refusal(message: str) -> ApiError:
    return ApiError(422, "Validation Failed", [{"resource": "PullRequest", "code": "custom", "message": message}])


def _refuse_second(repo: Repository, pull: Pull) -> None:
    for issue in repo.issues.values():
        other = issue.pull
        same = other and (other.head_repository, other.head_ref, other.base_ref) == (
            pull.head_repository,
            pull.head_ref,
            pull.base_ref,
        )
        if same and issue.state == "open":
            label = f"{pull.head_repository.owner.login}:{pull.head_ref}"
            raise _refusal(f"A pull request already exists for {label}.")


@routes("GET", PULL)
async def get_pull(call: Call) -> Response:
    """Answer with one pull request, or with its diff when asked."""
    repo, issue, pull = find_pull(call)
    git = call.git(repo)
    if call.accepts("diff"):
        diff = await git.diff(await fork_point(git, pull), pull.head_sha)
        return Response(diff, media_type="application/vnd.github.diff; charset=utf-8")
    if call.accepts("patch"):
        patch = await git("format-patch", "--stdout", "--end-of-options", f"{pull.base_sha}..{pull.head_sha}")
        return Response(patch, media_type="application/vnd.github.patch; charset=utf-8")
    return answer(await _full(call, repo, issue, pull))


@routes("PATCH", PULL)
async def update_pull(call: Call) -> Response:
    """Change title, text, state or base."""
    repo, issue, pull = find_pull(call)
    if issue.user is not call.actor.user and not call.actor.may(repo, "triage", "pull_requests", "write"):
        raise ApiError(403, "Must have admin rights to Repository.")
    state, base = call.field("state", str), call.field("base", str)
    if state not in (None, "open", "closed"):
        raise invalid("PullRequest", "state")
    body = checked_body(call.field("body", str, issue.body), "PullRequest")
    if base:
        sha = await call.git(repo).ref(f"refs/heads/{base}")
        if sha is None:
            raise invalid("PullRequest", "base")
        pull.base_ref, pull.base_sha = base, sha
    issue.title, issue.body, issue.updated_at = call.field("title", str) or issue.title, body, now()
    if state == "open" and issue.state == "closed":
        if pull.merged_at:
            raise invalid("PullRequest", "state", "invalid", "Cannot reopen a merged pull request")
        _refuse_second(repo, pull)
    if state:
        call.world.set_state(repo, call.actor, issue, state)
    return answer(await _full(call, repo, issue, pull))


@routes("GET", PULL + "/files")
async def list_files(call: Call) -> Response:
    """List the changed files with their patches."""
    repo, _, pull = find_pull(call)
    git = call.git(repo)
    changes = await git.changes(await fork_point(git, pull), pull.head_sha)
    return call.page(changes, lambda change: render_git.file_change(call.base, repo, pull.head_sha, change))


@routes("GET", PULL + "/commits")
async def list_pull_commits(call: Call) -> Response:
    """List the commits, the oldest first."""
    repo, _, pull = find_pull(call)
    commits = await call.git(repo).log(f"{pull.base_sha}..{pull.head_sha}")
    return call.page(commits[::-1], lambda commit: render_git.commit(call.base, call.world.state, repo, commit))


@routes("GET", PULL + "/merge")
async def is_merged(call: Call) -> Response:
    """Answer 204 when it is merged."""
    _, _, pull = find_pull(call)
    if pull.merged_at is None:
        raise not_found()
    return answer(status=204)


@routes("PUT", PULL + "/merge")
async def merge(call: Call) -> Response:
    """Merge with a merge commit; issues that the text says it closes are closed when the base is the default branch."""
    repo, issue, pull = find_pull(call, "write")
    if call.installation() and not call.actor.may(repo, "write", "contents", "write"):
        raise ApiError(403, "Resource not accessible by integration")
    if issue.state != "open" or pull.draft:
        raise ApiError(405, "Pull Request is not mergeable")
    if call.field("sha", str, pull.head_sha) != pull.head_sha:
        raise ApiError(409, "Head branch was modified. Review and try the merge again.")
    sha = await call.world.merge(repo, call.actor, issue, call.field("commit_title", str))
    if sha is None:
        raise ApiError(405, "Pull Request is not mergeable")
    return answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


@routes("GET", PULL + "/requested_reviewers")
async def list_requested_reviewers(call: Call) -> Response:
    """List who was asked for a review."""
    _, _, pull = find_pull(call)
    return answer({"users": [render.user(call.base, person) for person in pull.reviewers], "teams": []})


@routes("POST", PULL + "/requested_reviewers")
async def request_reviewers(call: Call) -> Response:
    """Ask collaborators for a review."""
    repo, issue, pull = find_pull(call, "write")
    for person in people(call, texts(call, "reviewers") or []):
        if person is issue.user:
            raise ApiError(422, "Review cannot be requested from pull request author.")
        if repo.permissions.get(person.login.lower(), "none") == "none" and person is not repo.owner:
            raise ApiError(422, "Reviews may only be requested from collaborators.")
        if person not in pull.reviewers:
            pull.reviewers.append(person)
    return answer(render_code.pull(call.base, repo, issue, pull), 201)


@routes("DELETE", PULL + "/requested_reviewers")
async def remove_requested_reviewers(call: Call) -> Response:
    """Take a request for a review back."""
    repo, issue, pull = find_pull(call, "write")
    gone = people(call, texts(call, "reviewers") or [])
    pull.reviewers = [person for person in pull.reviewers if person not in gone]
    return answer(render_code.pull(call.base, repo, issue, pull))
