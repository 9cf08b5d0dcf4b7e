"""Everything the local GitHub knows, as plain data in memory; the code itself lies in bare repositories on disk."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

JSON = dict[str, Any]

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
"""The roles of a collaborator, weakest first."""

LEGACY_PERMISSION = {"triage": "read", "maintain": "write"}
"""The `permission` field of the collaborator API knows four values; the other roles map to these."""

ALL_PERMISSIONS = {
    "actions": "read",
    "checks": "write",
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "write",
}
"""What an App gets on installation unless told otherwise."""

ALL_EVENTS = (
    "check_run",
    "check_suite",
    "issue_comment",
    "issues",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "push",
    "repository",
)
"""What an App subscribes to unless told otherwise; `installation` and `ping` always come."""

DEFAULT_LABELS = {
    "bug": ("d73a4a", "Something isn't working"),
    "documentation": ("0075ca", "Improvements or additions to documentation"),
    "enhancement": ("a2eeef", "New feature or request"),
    "question": ("d876e3", "Further information is requested"),
}

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")


def now() -> datetime:
    """Return this moment in UTC, in whole seconds as GitHub stamps it."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class User:
    """An account: a person, an organisation, or the bot user of an App."""

    id: int
    login: str
    type: str = "User"
    created_at: datetime = field(default_factory=now)

    @property
    def email(self) -> str:
        """Return the private address that GitHub gives commits of this account."""
        return f"{self.id}+{self.login}@users.noreply.github.com"


@dataclass
class App:
    """A GitHub App with the one hook it has."""

    id: int
    slug: str
    name: str
    owner: User
    bot: User
    public_key_pem: str
    webhook_url: str | None
    webhook_secret: str
    hook_id: int
    permissions: dict[str, str]
    events: tuple[str, ...]
    created_at: datetime = field(default_factory=now)


@dataclass
class Installation:
    """An App on an account, with the repositories it may see."""

    id: int
    app: App
    account: User
    permissions: dict[str, str]
    repositories: set[int] = field(default_factory=set)
    suspended_at: datetime | None = None
    created_at: datetime = field(default_factory=now)


@dataclass
class Token:
    """A credential: of a user, or of an installation with fewer rights and an end."""

    value: str
    user: User
    installation: Installation | None = None
    permissions: dict[str, str] = field(default_factory=dict)
    repositories: frozenset[int] | None = None
    expires_at: datetime | None = None
    requests: int = 0


@dataclass
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str
    description: str | None = None


@dataclass
class Reaction:
    """One emoji by one account on an issue or a comment."""

    id: int
    user: User
    content: str
    created_at: datetime = field(default_factory=now)


@dataclass
class Comment:
    """A comment on an issue or pull request."""

    id: int
    user: User
    body: str
    app: App | None = None
    reactions: list[Reaction] = field(default_factory=list)
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)


@dataclass
class ReviewComment(Comment):
    """A comment on a line of a pull request's diff; `line` counts in the new file.

    `line` and `commit_sha` follow the head until the line changes: then the comment is outdated, and `line` is None.
    `resolved_by` counts for the first comment of a thread.
    """

    path: str = ""
    line: int | None = None
    original_line: int | None = None
    side: str = "RIGHT"
    start_line: int | None = None
    diff_hunk: str = ""
    commit_sha: str = ""
    original_sha: str = ""
    review_id: int | None = None
    in_reply_to: int | None = None
    resolved_by: User | None = None

    @property
    def outdated(self) -> bool:
        """True when its line is no longer what it was."""
        return self.line is None and self.original_line is not None


@dataclass
class Review:
    """A review of a pull request."""

    id: int
    user: User
    body: str
    state: str
    commit_sha: str
    submitted_at: datetime = field(default_factory=now)


@dataclass
class Pull:
    """What a pull request has beyond its issue; `head_sha` and `base_sha` follow the branches while it is open.

    `size` counts commits, additions, deletions and changed files, as of the last time its head moved.
    """

    id: int
    head_repository: Repository
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    draft: bool = False
    merged_at: datetime | None = None
    merged_by: User | None = None
    merge_commit_sha: str | None = None
    size: tuple[int, int, int, int] = (0, 0, 0, 0)
    reviewers: list[User] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    comments: list[ReviewComment] = field(default_factory=list)


@dataclass
class Issue:
    """An issue, or a pull request when `pull` is set: both share one row of numbers."""

    id: int
    number: int
    user: User
    title: str
    body: str | None
    app: App | None = None
    state: str = "open"
    state_reason: str | None = None
    labels: list[Label] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    pull: Pull | None = None
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    closed_at: datetime | None = None
    closed_by: User | None = None
    locked: bool = False


@dataclass
class CheckRun:
    """A check run on one commit."""

    id: int
    app: App
    suite_id: int
    name: str
    head_sha: str
    status: str = "queued"
    conclusion: str | None = None
    external_id: str = ""
    details_url: str | None = None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    annotations: list[JSON] = field(default_factory=list)
    actions: list[JSON] = field(default_factory=list)
    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True)
class JobLog:
    """What a workflow job printed; `signature` is what its address is signed with."""

    text: str
    signature: str = field(default_factory=lambda: secrets.token_urlsafe(32))


@dataclass
class CheckSuite:
    """The check runs of one App on one commit; it `waits` from when they are asked for again until one is written."""

    id: int
    app: App
    head_sha: str
    head_branch: str | None
    waits: bool = False
    created_at: datetime = field(default_factory=now)


@dataclass
class Status:
    """A commit status."""

    id: int
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    creator: User
    created_at: datetime = field(default_factory=now)


@dataclass
class Repository:
    """A repository: what is said about it here, its commits in the bare repository at `path`."""

    id: int
    owner: User
    name: str
    path: Path
    private: bool = False
    fork_of: Repository | None = None
    default_branch: str = "main"
    description: str | None = None
    permissions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    check_runs: dict[int, CheckRun] = field(default_factory=dict)
    job_logs: dict[int, JobLog] = field(default_factory=dict)
    check_suites: dict[int, CheckSuite] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    signed_commits: set[str] = field(default_factory=set)
    created_at: datetime = field(default_factory=now)
    pushed_at: datetime = field(default_factory=now)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def full_name(self) -> str:
        """Return `owner/name`."""
        return f"{self.owner.login}/{self.name}"

    def role_of(self, user: User | None) -> str:
        """Return what `user` may do here; a public repository can be read by everybody."""
        if user is not None and user.id == self.owner.id:
            return "admin"
        granted = self.permissions.get(user.login.lower(), "none") if user else "none"
        return "read" if granted == "none" and not self.private else granted


@dataclass
class Delivery:
    """One attempt to hand an event to an App's hook, with what came back."""

    id: int
    guid: str
    app: App
    event: str
    body: bytes
    action: str | None
    installation_id: int | None
    repository_id: int | None
    redelivery: bool = False
    delivered_at: datetime = field(default_factory=now)
    duration: float = 0.0
    status: str = "pending"
    status_code: int = 0
    request_headers: dict[str, str] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""

    def payload(self) -> JSON:
        """Return what was sent, read."""
        payload: JSON = json.loads(self.body)
        return payload


@dataclass
class State:
    """The tables of the local GitHub; names and logins are looked up in lower case, as GitHub does."""

    users: dict[str, User] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    apps: dict[int, App] = field(default_factory=dict)
    installations: dict[int, Installation] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    manifests: dict[str, Any] = field(default_factory=dict)  # Apps that were just made, by the code that is good once
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    def next_id(self) -> int:
        """Return a number that nothing else here has."""
        return next(self.ids)

    def user(self, login: str) -> User | None:
        """Return the account of that name, if there is one."""
        return self.users.get(login.lower())

    def repository(self, full_name: str) -> Repository | None:
        """Return the repository `owner/name`, if there is one."""
        return self.repositories.get(full_name.lower())

    def installation_for(self, app: App, repository: Repository) -> Installation | None:
        """Return the installation by which `app` sees `repository`, if any."""
        return next((i for i in self.installations.values() if i.app is app and repository.id in i.repositories), None)
