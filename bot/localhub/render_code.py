"""GitHub's JSON shapes of pull requests, reviews, check runs and statuses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from bot.localhub import git, render
from bot.localhub.render import node, stamp
from bot.localhub.render_git import repo_url
from bot.localhub.state import (
    JSON,
    CheckRun,
    CheckSuite,
    Issue,
    Pull,
    Repository,
    Review,
    ReviewComment,
    Status,
)


def _end(base: str, repo: Repository, name: str, sha: str) -> JSON:
    return {
        "label": f"{repo.owner.login}:{name}",
        "ref": name,
        "sha": sha,
        "user": render.user(base, repo.owner),
        "repo": render.repository(base, repo),
    }


def pull(base: str, repo: Repository, it: Issue, its: Pull) -> JSON:
    """Return a `pull-request-simple`."""
    shape = render.issue(base, repo, it)
    url = f"{repo_url(base, repo)}/pulls/{it.number}"
    links = {
        "self": url,
        "html": shape["html_url"],
        "issue": shape["url"],
        "comments": shape["comments_url"],
        "review_comments": f"{url}/comments",
        "review_comment": f"{repo_url(base, repo)}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{repo_url(base, repo)}/statuses/{its.head_sha}",
    }
    copied = ("number", "state", "locked", "title", "user", "body", "labels", "milestone", "active_lock_reason")
    times = ("created_at", "updated_at", "closed_at", "assignee", "assignees", "author_association", "html_url")
    return {
        "url": url,
        "id": its.id,
        "node_id": node("PullRequest", its.id),
        **{name: shape[name] for name in (*copied, *times)},
        "diff_url": f"{shape['html_url']}.diff",
        "patch_url": f"{shape['html_url']}.patch",
        "issue_url": shape["url"],
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "merged_at": stamp(its.merged_at),
        "merge_commit_sha": its.merge_commit_sha,
        "requested_reviewers": [render.user(base, person) for person in its.reviewers],
        "requested_teams": [],
        "head": _end(base, its.head_repository, its.head_ref, its.head_sha),
        "base": _end(base, repo, its.base_ref, its.base_sha),
        "_links": {name: {"href": href} for name, href in links.items()},
        "auto_merge": None,
        "draft": its.draft,
    }


def full_pull(
    base: str, repo: Repository, it: Issue, its: Pull, changes: Sequence[git.FileChange], commits: int, mergeable: bool
) -> JSON:
    """Return a `pull-request` with what only the single one carries."""
    state = "clean" if mergeable else "dirty"
    return {
        **pull(base, repo, it, its),
        "merged": its.merged_at is not None,
        "mergeable": mergeable if it.state == "open" else None,
        "rebaseable": mergeable if it.state == "open" else None,
        "mergeable_state": "draft" if its.draft else state if it.state == "open" else "unknown",
        "merged_by": render.user(base, its.merged_by) if its.merged_by else None,
        "comments": len(it.comments),
        "review_comments": len(its.comments),
        "maintainer_can_modify": False,
        "commits": commits,
        "additions": sum(change.additions for change in changes),
        "deletions": sum(change.deletions for change in changes),
        "changed_files": len(changes),
    }


def pull_in_webhook(base: str, repo: Repository, it: Issue, its: Pull) -> JSON:
    """Return a `pull-request` as events carry it: whether it can be merged is worked out later."""
    counted = zip(("commits", "additions", "deletions", "changed_files"), its.size, strict=True)
    return {
        **pull(base, repo, it, its),
        "merged": its.merged_at is not None,
        "mergeable": None,
        "rebaseable": None,
        "mergeable_state": "unknown",
        "merged_by": render.user(base, its.merged_by) if its.merged_by else None,
        "comments": len(it.comments),
        "review_comments": len(its.comments),
        "maintainer_can_modify": False,
        **dict(counted),
    }


def _pull_links(base: str, repo: Repository, number: int, anchor: str) -> JSON:
    page = f"{base}/{repo.full_name}/pull/{number}#{anchor}"
    url = f"{repo_url(base, repo)}/pulls/{number}"
    return {
        "html_url": page,
        "pull_request_url": url,
        "_links": {"html": {"href": page}, "pull_request": {"href": url}},
    }


def review(base: str, repo: Repository, number: int, it: Review) -> JSON:
    """Return a `pull-request-review`."""
    return {
        "id": it.id,
        "node_id": node("Review", it.id),
        "user": render.user(base, it.user),
        "body": it.body,
        "state": it.state,
        **_pull_links(base, repo, number, f"pullrequestreview-{it.id}"),
        "submitted_at": stamp(it.submitted_at),
        "commit_id": it.commit_sha,
        "author_association": render.association(repo, it.user),
    }


def review_comment(base: str, repo: Repository, number: int, it: ReviewComment) -> JSON:
    """Return a `pull-request-review-comment`."""
    url = f"{repo_url(base, repo)}/pulls/comments/{it.id}"
    links = _pull_links(base, repo, number, f"discussion_r{it.id}")
    links["_links"]["self"] = {"href": url}
    shape = {
        "url": url,
        "pull_request_review_id": it.review_id,
        "id": it.id,
        "node_id": node("ReviewComment", it.id),
        "diff_hunk": it.diff_hunk,
        "path": it.path,
        "commit_id": it.commit_sha,
        "original_commit_id": it.original_sha,
        "user": render.user(base, it.user),
        "body": it.body,
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.updated_at),
        **links,
        "author_association": render.association(repo, it.user),
        "reactions": render.reaction_rollup(url, it.reactions),
        "start_line": it.start_line,
        "original_start_line": it.start_line,
        "start_side": it.side if it.start_line else None,
        "side": it.side,
        "subject_type": "line" if it.original_line else "file",
    }
    if it.original_line:
        now, then = it.line, it.original_line
        shape |= {"line": now, "original_line": then, "position": now, "original_position": then}
    if it.in_reply_to:
        shape["in_reply_to_id"] = it.in_reply_to
    return shape


def _pulls_of(base: str, repo: Repository, sha: str) -> list[JSON]:
    def end(where: Repository, name: str, at: str) -> JSON:
        return {"ref": name, "sha": at, "repo": {"id": where.id, "url": repo_url(base, where), "name": where.name}}

    return [
        {
            "id": its.id,
            "number": it.number,
            "url": f"{repo_url(base, repo)}/pulls/{it.number}",
            "head": end(its.head_repository, its.head_ref, its.head_sha),
            "base": end(repo, its.base_ref, its.base_sha),
        }
        for it in repo.issues.values()
        if (its := it.pull) and its.head_sha == sha and it.state == "open"
    ]


def check_run(base: str, repo: Repository, it: CheckRun) -> JSON:
    """Return a `check-run`."""
    url = f"{repo_url(base, repo)}/check-runs/{it.id}"
    page = f"{base}/{repo.full_name}/runs/{it.id}"
    return {
        "id": it.id,
        "name": it.name,
        "node_id": node("CheckRun", it.id),
        "head_sha": it.head_sha,
        "external_id": it.external_id,
        "url": url,
        "html_url": page,
        "details_url": it.details_url or page,
        "status": it.status,
        "conclusion": it.conclusion,
        "started_at": stamp(it.started_at),
        "completed_at": stamp(it.completed_at),
        "output": {
            "title": it.title,
            "summary": it.summary,
            "text": it.text,
            "annotations_count": len(it.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": it.suite_id},
        "app": render.app(base, it.app),
        "pull_requests": _pulls_of(base, repo, it.head_sha),
    }


def suite_outcome(runs: Sequence[CheckRun]) -> tuple[str, str | None]:
    """Return status and conclusion of a suite: completed once all its runs are, with the worst conclusion."""
    if not runs or any(run.status != "completed" for run in runs):
        return ("in_progress" if runs else "queued"), None
    worst = ("action_required", "timed_out", "failure", "cancelled", "stale", "success", "neutral", "skipped")
    return "completed", min((run.conclusion or "success" for run in runs), key=worst.index)


def check_suite(base: str, repo: Repository, it: CheckSuite, head: git.Commit) -> JSON:
    """Return a `check-suite`."""
    runs = [run for run in repo.check_runs.values() if run.suite_id == it.id]
    status, conclusion = ("queued", None) if it.waits else suite_outcome(runs)
    url = f"{repo_url(base, repo)}/check-suites/{it.id}"
    return {
        "id": it.id,
        "node_id": node("CheckSuite", it.id),
        "head_branch": it.head_branch,
        "head_sha": it.head_sha,
        "status": status,
        "conclusion": conclusion,
        "url": url,
        "before": head.parents[0] if head.parents else None,
        "after": it.head_sha,
        "pull_requests": _pulls_of(base, repo, it.head_sha),
        "app": render.app(base, it.app),
        "repository": render.minimal_repository(base, repo),
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.created_at),
        "head_commit": {
            "id": head.sha,
            "tree_id": head.tree,
            "message": head.message,
            "timestamp": stamp(head.committer.date.astimezone(UTC)),
            "author": {"name": head.author.name, "email": head.author.email},
            "committer": {"name": head.committer.name, "email": head.committer.email},
        },
        "latest_check_runs_count": len(runs),
        "check_runs_url": f"{url}/check-runs",
    }


def status(base: str, repo: Repository, it: Status) -> JSON:
    """Return a `status`."""
    return {
        "url": f"{repo_url(base, repo)}/statuses/{it.sha}",
        "avatar_url": f"{base}/static/avatar.svg",
        "id": it.id,
        "node_id": node("Status", it.id),
        "state": it.state,
        "description": it.description,
        "target_url": it.target_url,
        "context": it.context,
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.created_at),
        "creator": render.user(base, it.creator),
    }
