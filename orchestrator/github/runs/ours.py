"""Which run a pull request belongs to: by the store where it knows, else by our marks and trailers on GitHub alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from github.Commit import Commit
from github.PullRequest import PullRequest
from github.Repository import Repository

from orchestrator.github.api.client import NotFound
from orchestrator.github.rendering.commits import CI_TRAILER, ROUND_TRAILER, RUN_TRAILER, holds_ci, trailer
from orchestrator.github.rendering.marks import status_mark
from orchestrator.github.runs.desk import Desk

_REPORT = re.compile(r"<!-- orchestrator:report run=(?P<run>r-[a-z2-7]{16}) -->\s*\Z")
_ISSUE = re.compile(r"(?:Closes|Part of) #(\d{1,9})\b")
_BRANCH_ISSUE = re.compile(r"(?:^|[/_.-])(\d{1,9})-")
_COMMITS = 250
"""As many commits of a pull request as GitHub lists.

Source: https://docs.github.com/en/rest/pulls/pulls#list-commits-on-a-pull-request
"""


@dataclass(frozen=True, slots=True)
class OwnCommit:
    """A commit of a pull request; `run`, `round` and `ci` are what its trailers say, empty without."""

    sha: str
    parent: str
    author: str
    run: str
    round: str
    ci: str
    holds_ci: bool


@dataclass(frozen=True, slots=True)
class Ours:
    """An open pull request of ours on a branch of this repository, and the run that it belongs to."""

    pull: PullRequest
    run_id: str
    commits: tuple[OwnCommit, ...]

    @property
    def number(self) -> int:
        """The pull request's number."""
        return self.pull.number

    @property
    def branch(self) -> str:
        """The branch that holds its head."""
        return self.pull.head.ref

    @property
    def head(self) -> OwnCommit | None:
        """The commit at its head, where GitHub lists it."""
        return next((it for it in self.commits if it.sha == self.pull.head.sha), None)


async def ours(desk: Desk, known: str = "") -> Ours | str:
    """Return the pull request that a command is about, or the sentence that says why it cannot be worked on.

    `known` is the run that it is known to belong to.
    """
    number = desk.trigger.issue or 0

    def read(repository: Repository) -> tuple[PullRequest, tuple[OwnCommit, ...]]:
        # Complete here: an attribute that is fetched when it is looked at would block whoever looks.
        pull = repository.get_pull(number).complete()
        return pull, tuple(_commit(it) for it in islice(pull.get_commits(), _COMMITS))

    try:
        pull, commits = await desk.client.read("read the pull request", read)
    except NotFound:
        return f"#{number} is no pull request."
    if pull.head.repo is None or pull.head.repo.full_name.lower() != desk.client.name.lower():
        return "this pull request comes from a fork, whose branch is not ours to write to."
    run_id = known or await _run_of(desk, number, commits)
    if not run_id:
        return "this pull request is none of ours: only what `/orchestrate` opened is revised."
    if pull.state != "open":
        how = "merged" if pull.merged else "closed"
        return f"the pull request is {how}. Begin anew with `/orchestrate` on its issue."
    return Ours(pull, run_id, commits)


def _commit(it: Commit) -> OwnCommit:
    message = it.commit.message
    return OwnCommit(
        it.sha,
        it.parents[0].sha if it.parents else "",
        it.author.login if it.author else "",
        trailer(message, RUN_TRAILER),
        trailer(message, ROUND_TRAILER),
        trailer(message, CI_TRAILER),
        holds_ci(message),
    )


async def _run_of(desk: Desk, number: int, commits: tuple[OwnCommit, ...]) -> str:
    """Return the run that our own report on the pull request names, else the one of our own first commit."""
    for body in await desk.publisher.comments_with(number, "<!-- orchestrator:report run="):
        if found := _REPORT.search(body):
            return found["run"]
    login = desk.publisher.login.lower()
    return next((it.run for it in commits if it.run and it.author.lower() == login), "")


async def issue_of(desk: Desk, found: Ours) -> int | None:
    """Return the issue that holds the status comment of a pull request's run, or None where it began without one."""
    run_id = found.run_id
    named = [*_ISSUE.findall(found.pull.body or ""), *_BRANCH_ISSUE.findall(found.branch)]
    for number in dict.fromkeys(map(int, named)):
        try:
            if await desk.publisher.comments_with(number, status_mark(run_id)):
                return number
        except NotFound:
            continue
    return None
