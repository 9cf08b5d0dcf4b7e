"""GitHub's JSON shapes of accounts, repositories, issues, comments and their Apps: pure functions from our data.

The fields follow GitHub's OpenAPI description (https://github.com/github/rest-api-description).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from bot.localhub.state import (
    JSON,
    REACTIONS,
    App,
    Comment,
    Issue,
    Label,
    Reaction,
    Repository,
    User,
)

API = "/api/v3"


def stamp(moment: datetime | None) -> str | None:
    """Return a time as GitHub writes it, or None."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def node(kind: str, number: int | str) -> str:
    """Return an opaque global node id."""
    return base64.b64encode(f"{kind}:{number}".encode()).decode()


def user(base: str, account: User) -> JSON:
    """Return a `simple-user`."""
    url = f"{base}{API}/users/{account.login}"
    templates = {
        "followers_url": "/followers",
        "following_url": "/following{/other_user}",
        "gists_url": "/gists{/gist_id}",
        "starred_url": "/starred{/owner}{/repo}",
        "subscriptions_url": "/subscriptions",
        "organizations_url": "/orgs",
        "repos_url": "/repos",
        "events_url": "/events{/privacy}",
        "received_events_url": "/received_events",
    }
    return {
        "login": account.login,
        "id": account.id,
        "node_id": node("User", account.id),
        "avatar_url": f"{base}/static/avatar.svg",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{base}/{account.login}",
        **{name: url + tail for name, tail in templates.items()},
        "type": account.type,
        "user_view_type": "public",
        "site_admin": False,
    }


def organization(base: str, account: User) -> JSON:
    """Return an `organization-simple-webhooks`."""
    url = f"{base}{API}/orgs/{account.login}"
    tails = {
        "hooks": "",
        "issues": "",
        "members": "{/member}",
        "public_members": "{/member}",
        "repos": "",
        "events": "",
    }
    return {
        "login": account.login,
        "id": account.id,
        "node_id": node("Organization", account.id),
        "url": url,
        **{f"{name}_url": f"{url}/{name}{tail}" for name, tail in tails.items()},
        "avatar_url": f"{base}/static/avatar.svg",
        "description": "",
    }


def full_user(base: str, account: User, repositories: int) -> JSON:
    """Return a `public-user`."""
    empty = ("company", "location", "email", "hireable", "bio", "twitter_username")
    return {
        **user(base, account),
        "name": account.login,
        "blog": "",
        **dict.fromkeys(empty),
        "public_repos": repositories,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": stamp(account.created_at),
        "updated_at": stamp(account.created_at),
    }


_REPOSITORY_URLS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}


def role_flags(role: str) -> JSON:
    """Return the `permissions` object of a repository for somebody with `role`."""
    ranks = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
    order = list(ranks.values())
    return {flag: role in order and order.index(role) >= order.index(needs) for flag, needs in ranks.items()}


def repository(base: str, repo: Repository, role: str | None = None) -> JSON:
    """Return a `repository`; `role` is the caller's."""
    url = f"{base}{API}/repos/{repo.full_name}"
    page = f"{base}/{repo.full_name}"
    open_issues = sum(issue.state == "open" for issue in repo.issues.values())
    shape: JSON = {
        "id": repo.id,
        "node_id": node("Repository", repo.id),
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": user(base, repo.owner),
        "html_url": page,
        "description": repo.description,
        "fork": repo.fork_of is not None,
        "url": url,
        **{name: url + tail for name, tail in _REPOSITORY_URLS.items()},
        "created_at": stamp(repo.created_at),
        "updated_at": stamp(repo.pushed_at),
        "pushed_at": stamp(repo.pushed_at),
        "git_url": f"{page}.git",
        "ssh_url": f"{page}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        "homepage": None,
        "mirror_url": None,
        "language": None,
        "license": None,
        "size": 0,
        **dict.fromkeys(("stargazers_count", "watchers_count", "forks_count", "forks", "watchers"), 0),
        "open_issues_count": open_issues,
        "open_issues": open_issues,
        "has_issues": True,
        **dict.fromkeys(("has_projects", "has_downloads", "has_wiki", "has_pages", "has_discussions"), False),
        **dict.fromkeys(("archived", "disabled", "is_template", "web_commit_signoff_required"), False),
        "allow_forking": True,
        "topics": [],
        "visibility": "private" if repo.private else "public",
        "default_branch": repo.default_branch,
        "allow_rebase_merge": True,
        "allow_squash_merge": True,
        "allow_merge_commit": True,
        "allow_auto_merge": False,
        "delete_branch_on_merge": False,
    }
    if role:
        shape["permissions"] = role_flags(role)
    return shape


def full_repository(base: str, repo: Repository, role: str | None = None) -> JSON:
    """Return a `full-repository`; `role` is the caller's."""
    shape = {**repository(base, repo, role), "network_count": 0, "subscribers_count": 0}
    if repo.fork_of:
        shape["parent"] = shape["source"] = repository(base, repo.fork_of)
    return shape


def minimal_repository(base: str, repo: Repository) -> JSON:
    """Return a `minimal-repository`, which does not say how pull requests may be merged."""
    shape = repository(base, repo)
    return {name: value for name, value in shape.items() if not name.startswith("allow_") or name == "allow_forking"}


def label(base: str, repo: Repository, it: Label) -> JSON:
    """Return a `label`."""
    return {
        "id": it.id,
        "node_id": node("Label", it.id),
        "url": f"{base}{API}/repos/{repo.full_name}/labels/{it.name}",
        "name": it.name,
        "color": it.color,
        "default": it.name in ("bug", "documentation", "enhancement", "question"),
        "description": it.description,
    }


def reaction(base: str, it: Reaction) -> JSON:
    """Return a `reaction`."""
    return {
        "id": it.id,
        "node_id": node("Reaction", it.id),
        "user": user(base, it.user),
        "content": it.content,
        "created_at": stamp(it.created_at),
    }


def reaction_rollup(url: str, reactions: Sequence[Reaction]) -> JSON:
    """Return the counts of reactions that issues and comments carry."""
    counts = {content: sum(r.content == content for r in reactions) for content in REACTIONS}
    return {"url": f"{url}/reactions", "total_count": len(reactions), **counts}


def association(repo: Repository, account: User) -> str:
    """Return the `author_association`; a bot is NONE, as on GitHub."""
    if account.id == repo.owner.id:
        return "OWNER"
    return "COLLABORATOR" if repo.permissions.get(account.login.lower(), "none") != "none" else "NONE"


def issue(base: str, repo: Repository, it: Issue) -> JSON:
    """Return an `issue`, which a pull request is too."""
    url = f"{base}{API}/repos/{repo.full_name}/issues/{it.number}"
    page = f"{base}/{repo.full_name}/{'pull' if it.pull else 'issues'}/{it.number}"
    people = [user(base, person) for person in it.assignees]
    shape: JSON = {
        "url": url,
        "repository_url": f"{base}{API}/repos/{repo.full_name}",
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": page,
        "id": it.id,
        "node_id": node("Issue", it.id),
        "number": it.number,
        "title": it.title,
        "user": user(base, it.user),
        "labels": [label(base, repo, entry) for entry in it.labels],
        "state": it.state,
        "locked": it.locked,
        "assignee": people[0] if people else None,
        "assignees": people,
        "milestone": None,
        "comments": len(it.comments),
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.updated_at),
        "closed_at": stamp(it.closed_at),
        "author_association": association(repo, it.user),
        "active_lock_reason": None,
        "body": it.body,
        "closed_by": user(base, it.closed_by) if it.closed_by else None,
        "reactions": reaction_rollup(url, it.reactions),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": app(base, it.app) if it.app else None,
        "state_reason": it.state_reason,
    }
    if it.pull:
        pull_url = f"{base}{API}/repos/{repo.full_name}/pulls/{it.number}"
        shape["draft"] = it.pull.draft
        shape["pull_request"] = {
            "url": pull_url,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": stamp(it.pull.merged_at),
        }
    return shape


def issue_in_webhook(base: str, repo: Repository, it: Issue) -> JSON:
    """Return an issue as events carry it: without who closed it."""
    shape = issue(base, repo, it)
    del shape["closed_by"]
    return shape


def comment(base: str, repo: Repository, parent: Issue, it: Comment) -> JSON:
    """Return an `issue-comment`."""
    url = f"{base}{API}/repos/{repo.full_name}/issues/comments/{it.id}"
    kind = "pull" if parent.pull else "issues"
    return {
        "url": url,
        "html_url": f"{base}/{repo.full_name}/{kind}/{parent.number}#issuecomment-{it.id}",
        "issue_url": f"{base}{API}/repos/{repo.full_name}/issues/{parent.number}",
        "id": it.id,
        "node_id": node("IssueComment", it.id),
        "user": user(base, it.user),
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.updated_at),
        "author_association": association(repo, it.user),
        "body": it.body,
        "reactions": reaction_rollup(url, it.reactions),
        "performed_via_github_app": app(base, it.app) if it.app else None,
    }


def app(base: str, it: App) -> JSON:
    """Return an `integration`, GitHub's older word for an App."""
    return {
        "id": it.id,
        "client_id": f"Iv1.{it.id:016x}",
        "slug": it.slug,
        "node_id": node("App", it.id),
        "owner": user(base, it.owner),
        "name": it.name,
        "description": None,
        "external_url": f"{base}/",
        "html_url": f"{base}/github-apps/{it.slug}",
        "created_at": stamp(it.created_at),
        "updated_at": stamp(it.created_at),
        "permissions": it.permissions,
        "events": list(it.events),
    }
